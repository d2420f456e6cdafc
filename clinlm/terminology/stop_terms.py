"""Terms of the usual vocabularies that are hardly ever an entity where a note has them.

Drawn up from the short terms of DrugBank, the Disease and the Symptom Ontology that are common words, from what these
found in MTSamples, and from what they found beside the entities of BC5CDR's training and development parts. Plurals and
other forms go with their term.
"""

_GENERIC = """disease;disorder;syndrome;symptom;sign;finding;illness;condition;infection;injury;lesion;allergy;
abnormality;defect;physical disorder;genetic disease;infectious disease;abdominal symptom;throat symptom;joint symptom;
muscle symptom;skin symptom;drug allergy;peptide;protein;enzyme;vitamin;vaccine;antibody;hormone;amino acid;
phospholipid;drug;medication;medicine;placebo"""
"""Heads of an ontology, and kinds of things: they say that there is something, not what."""

_STATES = """blood pressure;pulse;temperature;discharge;sputum;fecal;recumbency;afebrile;gait;posture;thirst;balance;
shake;wasting;the runs;hopping;exhaustion;sensation perception;gas production;abnormal behavior;bubo;boil"""
"""What is measured, seen or done in every patient, and words that mean something else more often."""

_MEASURED = """hemoglobin;prothrombin;thrombin;fibrinogen;fibronectin;alkaline phosphatase;collagenase;lysozyme;
adenylate;thymidylate;parathyroid hormone;luteinizing hormone;growth hormone;chorionic gonadotropin;
human chorionic gonadotropin;natriuretic peptide;nerve growth factor;thyroglobulin;intrinsic factor;protein c;protein s;
factor vii;factor viii;plasma protein;transferrin;ferritin;cortisol;sulfate;acetate;carbonate;nitrite;urate"""
"""Substances of the body that are tested for far more often than given, and the second halves of salts."""

_WORDS = """all;his;it;was;an;as;he;in;is;no;on;or;to;so;us;we;same;date;monitor;dimension;capture;cascade;beam;bore;
mat;mate;met;mets;air;amber;api;camp;com;cosmos;dump;ecstasy;hip;inspire;iodo;lac;lata;lens;mel;merlin;min;neon;patrol;
pearl;pro;primus;ras;rayon;sam;sequel;ser;titan;timothy;tri;val;dal;des;det;ile;dc;hop;agua;gel;cream;liver;cord blood;
house dust;lye;elm;mace;neo;pat;ten;cap;caps;cat;ice;aid;gin;cit;fica;purv;cpad"""
"""Common words that some drug or disease is called, too; acronyms in their own case are told apart by it."""

_FOODS = """water;milk;egg;egg white;beef;pork;lamb;veal;chicken;turkey;duck;goose;poultry;rabbit;bovine liver;catfish;
cod;codfish;herring;lobster;oyster;clam;perch;salmon;shrimp;snail;squid;trout;tuna;crab;carp;almond;apple;banana;barley;
basil;bean;beet;blackberry;blueberry;broccoli;cabbage;carrot;cauliflower;celery;cherry;chocolate;cinnamon;cocoa;coconut;
coffee;corn;cranberry;cucumber;dill;eggplant;fig;garlic;ginger;grape;grapefruit;honey;kale;leek;lemon;lettuce;lime;
mango;melon;mushroom;oat;okra;olive;olive oil;onion;orange;parsley;pea;peach;peanut;pear;pepper;pineapple;plum;potato;
pumpkin;rice;rosemary;rye;sage;sesame;soybean;spinach;squash;strawberry;sugarcane;tea;tomato;vanilla;vinegar;walnut;
wheat;yeast;acacia;eucalyptus;cotton;tobacco;tobacco leaf;cellulose;chalk;talc"""
"""Foods, animals, plants and materials, of which allergen extracts are drugs."""

_ELEMENTS = """hydrogen;nitrogen;carbon;helium;titanium;silicon;silicone;aluminum;aluminium;chrome;chromium;gas;mg;al;
ml;ng;kg;mm;cm;mcg;meq"""
"""Elements that implants and mixtures are made of, and units."""

_ACRONYMS = """ABC;AMT;AP;API;APS;AS;ATT;BD;BNP;CAPS;CC;CD;CLS;CMP;CNC;CO;COP;CPP;DAP;DPR;DST;DTR;ESL;ETH;FNF;FSH;HIP;
HIS;INO;IPA;KI;LA;LH;MCC;MCT;MEA;MES;MIC;MVA;MYC;NAD;NG;NPP;NPY;OE;PAA;PAF;PAS;PAT;PCA;PFT;PMP;PPD;PS;PTH;PV;RAS;SA;SAM;
SCM;SDS;SHH;STS;TEM;TEN;TEP;TFT;UMP;VA"""
"""Drugs whose acronym nearly always means something else in a note: a test, a place, a person. In capitals, so that the
acronyms themselves are stopped. Acronyms that are a disease's, too (DM), are not here: a vocabulary that has it so may
stand before the drugs."""

STOP_TERMS: tuple[str, ...] = tuple(
    " ".join(term.split())
    for terms in (_GENERIC, _STATES, _MEASURED, _WORDS, _FOODS, _ELEMENTS, _ACRONYMS)
    for term in terms.split(";")
)
