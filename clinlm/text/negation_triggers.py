"""Trigger words that mark a symptom as negated, of someone else, past or hypothetical: ConText's lists, for negspacy.

Written for clinlm after the method of Harkema et al. 2009, "ConText", J Biomed Inform 42(5), whose lists are longer;
the negations hold most of negspacy's `en_clinical`. Each modifier has triggers before the symptom
(`preceding_negations`: negspacy's name, whatever the modifier) and after it, words that only look like triggers
(`pseudo_negations`), and words that end a trigger's scope (`termination`).
"""

from collections.abc import Mapping
from typing import Literal

Modifier = Literal["negated", "family", "historical", "hypothetical"]

_TURNS = """but;however;although;though;except;apart from;aside from;nevertheless;yet;still;which;;
complains of;c/o;complaining of;reports;reported;presents with;presented with;now has;does have;has had;
positive for;pos for;positive:;pos:;pertinent positives;admits to;admits;endorses;(+);trace;scattered;
persists;continues"""

_NOT_NEGATED = """no increase;no change;no interval change;no significant change;
no significant interval change;no definite change;no suspicious change;not only;not certain if;
not certain whether;not necessarily;without difficulty;not rule out;not ruled out;not been ruled out;
cannot rule out;gram negative;not cause;not extend;not drain;not improved;not resolved;not able to;
cannot tolerate;can't tolerate;no known drug allergies;no known allergies;not sure;not know;not want;
has not improved;not well controlled;not controlled;no improvement;no relief;not relieved"""

_NEGATED_BEFORE = """no;not;without;w/o;denies;denied;denying;deny;denial of;negative for;neg for;negative:;neg:;
pertinent negatives;absence of;absent;free of;never;neither;nor;cannot;no evidence of;no evidence for;no sign of;
no signs of;no complaints of;no complaint of;fails to reveal;failed to reveal;did not exhibit;lack of;lacks;lacking;
ruled out for;no longer;non;(-);doesn't;doesnt;does not;don't;didn't;didnt;did not;wasn't;wasnt;weren't;isn't;
aren't;couldn't;no history of"""

_NEGATED_AFTER = """denied;is denied;are denied;was denied;were denied;absent;not present;was not;were not;
is not;are not;wasn't;weren't;not seen;not noted;not reported;not identified;was ruled out;were ruled out;
is ruled out;has been ruled out;have been ruled out;ruled out;negative;none;free;declined"""

_FAMILY_BEFORE = """family history;family history of;family hx;fh;fhx;mother;father;parents;sister;brother;
siblings;grandmother;grandfather;grandparents;aunt;uncle;cousin;son;daughter;husband;wife;spouse;maternal;
paternal;mom;dad"""

_FAMILY_AFTER = """in the family;in family members;runs in the family;in her mother;in his mother;
in her father;in his father"""

_NOT_FAMILY = """mother reports;mother states;mother says;mother noted;mother notes;father reports;
father states;wife reports;wife states;wife noted;husband reports;husband states;husband noted;
daughter reports;daughter states;son reports;son states;mother describes;mother has described;mom states;
mom reports;mom describes;parents report;parents state;with her mother;with his mother;and her mother;
and his mother;to the mother;to mom;by a cousin;husband died;family reports;family states;by his mother;
by her mother;by mother;by his wife;by her husband;by the mother;by the wife;by the husband;by the parents;
by family"""

_FAMILY_ENDS = """;but;however;patient;pt;he;she;took him;took her;the child;the baby;the infant"""

_HISTORICAL_BEFORE = """history of;hx of;h/o;past medical history;pmh;pmhx;past history;past surgical history;
remote history;previous history;prior history;previous episode;previous episodes;prior episode;prior episodes;
previous bouts;previously;in the past;last year;last month;years ago;childhood;used to have;
had been treated for"""

_HISTORICAL_AFTER = """resolved;has resolved;have resolved;years ago;year ago;months ago;in the past;
in childhood;as a child;last year;subsided;cleared up;gone;in remission"""

_NOT_HISTORICAL = """history of present illness;history of the present illness;history and physical;
no history of;history of injury;history of present injury;hour history of;day history of;week history of;
month history of;year history of;weeks history of;days history of;long-standing history of;
longstanding history of;prior to;previous to;poor historian"""

_HISTORICAL_ENDS = """;but;however;now;presents;presented;presenting;admitted for;in for;comes in;currently;
today;evaluation of;has had;continues;reports;complains of;c/o;who"""

_HYPOTHETICAL_BEFORE = """if;in case of;in the event of;should he;should she;should the patient;should you;
should there be;should any;should this;return for;return to;call for;watch for;monitor for;monitor;
observe for;risk of;risk for;risks of;risks include;risks including;as needed for;prn;p.r.n.;prn for;rule out;
r/o;evaluate for;assess for;may cause;can cause;might cause;could cause;to prevent;prevention of;prophylaxis;
prophylaxis for;concern for;possible;possibly;suspected;suspicion of;question of;versus;educated about;
warned about;complications of;complications including;complications include"""

_HYPOTHETICAL_AFTER = """should occur;occurs;develops;develop;is possible;cannot be excluded;to be ruled out;
should be ruled out;precautions"""

_NOT_HYPOTHETICAL = """as if;monitored"""

_HYPOTHETICAL_ENDS = """;but;however;because;due to;since"""


def _split(words: str) -> list[str]:
    """Split at semicolons; an empty word is the semicolon itself."""
    return [";" if part == "" else part for part in (part.strip() for part in words.replace("\n", " ").split(";"))]


def _termset(before: str, after: str, pseudo: str, ends: str) -> Mapping[str, list[str]]:
    """Return the lists by negspacy's names."""
    return {
        "preceding_negations": _split(before),
        "following_negations": _split(after),
        "pseudo_negations": _split(pseudo),
        "termination": _split(ends),
    }


TRIGGERS: Mapping[Modifier, Mapping[str, list[str]]] = {
    "negated": _termset(_NEGATED_BEFORE, _NEGATED_AFTER, _NOT_NEGATED, _TURNS),
    "family": _termset(_FAMILY_BEFORE, _FAMILY_AFTER, _NOT_FAMILY, _FAMILY_ENDS),
    "historical": _termset(_HISTORICAL_BEFORE, _HISTORICAL_AFTER, _NOT_HISTORICAL, _HISTORICAL_ENDS),
    "hypothetical": _termset(_HYPOTHETICAL_BEFORE, _HYPOTHETICAL_AFTER, _NOT_HYPOTHETICAL, _HYPOTHETICAL_ENDS),
}
