"""Terms of the usual ontologies that are hardly ever an entity in a note.

Collected from the short terms of DrugBank, the Disease and the Symptom Ontology that are common words, from their
matches in MTSamples, and from their false matches in the training and development parts of BC5CDR. Plurals and other
forms are covered by their term.
"""

_GENERIC = """disease;disorder;syndrome;symptom;sign;finding;illness;condition;infection;injury;lesion;allergy;
abnormality;defect;physical disorder;genetic disease;infectious disease;abdominal symptom;throat symptom;joint symptom;
muscle symptom;skin symptom;drug allergy;peptide;protein;enzyme;vitamin;vaccine;antibody;hormone;amino acid;
phospholipid;drug;medication;medicine;placebo"""
"""Roots of an ontology, and kinds of things: too general to be an entity."""

_STATES = """blood pressure;pulse;temperature;discharge;sputum;fecal;recumbency;afebrile;gait;posture;thirst;balance;
shake;wasting;the runs;hopping;exhaustion;sensation perception;gas production;abnormal behavior;bubo;boil"""
"""Findings and measurements of every patient, and words that mean something else more often."""

_MEASURED = """hemoglobin;prothrombin;thrombin;fibrinogen;fibronectin;alkaline phosphatase;collagenase;lysozyme;
adenylate;thymidylate;parathyroid hormone;luteinizing hormone;growth hormone;chorionic gonadotropin;
human chorionic gonadotropin;natriuretic peptide;nerve growth factor;thyroglobulin;intrinsic factor;protein c;protein s;
factor vii;factor viii;plasma protein;transferrin;ferritin;cortisol;sulfate;acetate;carbonate;nitrite;urate"""
"""Substances of the body that are measured far more often than given, and the second halves of salts."""

_WORDS = """all;his;it;was;an;as;he;in;is;no;on;or;to;so;us;we;same;date;monitor;dimension;capture;cascade;beam;bore;
mat;mate;met;mets;air;amber;api;camp;com;cosmos;dump;ecstasy;hip;inspire;iodo;lac;lata;lens;mel;merlin;min;neon;patrol;
pearl;pro;primus;ras;rayon;sam;sequel;ser;titan;timothy;tri;val;dal;des;det;ile;dc;hop;agua;gel;cream;liver;cord blood;
house dust;lye;elm;mace;neo;pat;ten;cap;caps;cat;ice;aid;gin;cit;fica;purv;cpad"""
"""Common words that are also the name of some drug or disease; acronyms in their own case are kept."""

_FOODS = """water;milk;egg;egg white;beef;pork;lamb;veal;chicken;turkey;duck;goose;poultry;rabbit;bovine liver;catfish;
cod;codfish;herring;lobster;oyster;clam;perch;salmon;shrimp;snail;squid;trout;tuna;crab;carp;almond;apple;banana;barley;
basil;bean;beet;blackberry;blueberry;broccoli;cabbage;carrot;cauliflower;celery;cherry;chocolate;cinnamon;cocoa;coconut;
coffee;corn;cranberry;cucumber;dill;eggplant;fig;garlic;ginger;grape;grapefruit;honey;kale;leek;lemon;lettuce;lime;
mango;melon;mushroom;oat;okra;olive;olive oil;onion;orange;parsley;pea;peach;peanut;pear;pepper;pineapple;plum;potato;
pumpkin;rice;rosemary;rye;sage;sesame;soybean;spinach;squash;strawberry;sugarcane;tea;tomato;vanilla;vinegar;walnut;
wheat;yeast;acacia;eucalyptus;cotton;tobacco;tobacco leaf;cellulose;chalk;talc"""
"""Foods, animals, plants and materials whose allergen extracts are drugs."""

_ELEMENTS = """hydrogen;nitrogen;carbon;helium;titanium;silicon;silicone;aluminum;aluminium;chrome;chromium;gas;mg;al;
ml;ng;kg;mm;cm;mcg;meq"""
"""Elements in implants and mixtures, and units."""

_ACRONYMS = """ABC;AMT;AP;API;APS;AS;ATT;BD;BNP;CAPS;CC;CD;CLS;CMP;CNC;CO;COP;CPP;DAP;DPR;DST;DTR;ESL;ETH;FNF;FSH;HIP;
HIS;INO;IPA;KI;LA;LH;MCC;MCT;MEA;MES;MIC;MVA;MYC;NAD;NG;NPP;NPY;OE;PAA;PAF;PAS;PAT;PCA;PFT;PMP;PPD;PS;PTH;PV;RAS;SA;SAM;
SCM;SDS;SHH;STS;TEM;TEN;TEP;TFT;UMP;VA"""
"""Drugs whose acronym nearly always means something else in a note: a test, a place, a person. In capitals, so that the
acronyms themselves are stopped. Acronyms that also name a disease (DM) are not listed: a source of diseases may come
before the drugs."""

STOP_TERMS: tuple[str, ...] = tuple(
    " ".join(term.split())
    for terms in (_GENERIC, _STATES, _MEASURED, _WORDS, _FOODS, _ELEMENTS, _ACRONYMS)
    for term in terms.split(";")
)
