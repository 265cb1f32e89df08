//! The patterns of free-text refusals, in English, Spanish and Portuguese.
//!
//! Words are folded: lower case, no accents, no apostrophes. One rule per way of saying it; the sets hold the ways
//! of spelling it. The examples each rule is for stand in the table of the tests.

/// Words of which any one will do.
pub(super) type Set = &'static [&'static str];

/// One step of a pattern.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// One of these words.
    Is(Set),
    /// One of these words, or none.
    May(Set),
    /// Any number of these words.
    Many(Set),
    /// None of these words comes next; takes no word.
    Not(Set),
    /// The clause ends here.
    End,
}

/// Where in its clause a pattern may begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Where {
    /// At its first word only.
    Start,
    /// Anywhere: the pattern itself leaves no doubt.
    Anywhere,
    /// Anywhere, unless the words before turn it round ("don't stop …") or give it to others ("to stop …").
    Order,
}

/// A way of refusing messages.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) place: Where,
    pub(super) steps: &'static [Step],
}

const fn order(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Order, steps }
}

const fn anywhere(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Anywhere, steps }
}

const fn at_start(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Start, steps }
}

use Step::{End, Is, Many, May, Not};

/// All the rules; the first that matches wins.
pub(super) const RULES: &[Rule] = &[
    // A bare "stop" with nothing but courtesy around it.
    at_start(&[Many(BEFORE_STOP), Is(STOP), Many(AFTER_STOP), End]),
    at_start(&[
        Many(BEFORE_STOP),
        Is(ASKING),
        Is(&["you", "u"]),
        Many(BEFORE_STOP),
        Is(STOP),
        Many(AFTER_ASKED),
        End,
    ]),
    at_start(&[
        Is(&["you", "u"]),
        Is(&["need", "have", "must"]),
        May(&["to"]),
        Is(STOP),
        Many(AFTER_STOP),
        End,
    ]),
    anywhere(&[
        Is(&["texted", "replied", "sent", "wrote", "typed", "told", "said", "responded"]),
        Many(&["you", "u", "already", "with", "the", "word", "to"]),
        Is(STOP),
        Not(&["by", "at", "the", "in", "over", "it", "that", "my", "payment", "sign", "light"]),
    ]),
    at_start(&[Is(&["basta", "chega"]), Many(&["ya", "ja", "por", "favor", "gracias", "obrigado"]), End]),
    at_start(&[Is(&["ya", "ja"]), Is(&["basta", "chega", "paren", "parem", "pare", "stop"]), End]),
    at_start(&[
        Is(&["paren", "parem", "pare", "baja", "alto"]),
        Is(&["ya", "ja", "por", "pfv", "porfa"]),
        Many(COURTESY),
        End,
    ]),
    // "Stop texting me", "quit sending these messages", "stop los mensajes".
    order(&[Is(CEASE), Many(STOP_FILLERS), Is(CONTACTING), Many(ME)]),
    order(&[Is(CEASE), Many(STOP_FILLERS), Is(&["sending"]), Many(STOP_FILLERS), Is(SENT_THINGS)]),
    order(&[
        Is(CEASE),
        Many(&["please", "pls", "plz"]),
        Is(&["sending"]),
        Many(&["me", "us", "please", "now"]),
        End,
    ]),
    order(&[Is(CEASE), Many(STOP_FILLERS), Is(&["calling", "callin"]), Many(ME), End]),
    // "Don't text me", "never contact me again", "don't send me any more texts".
    order(&[Is(NEGATION), Many(EVEN), Is(CONTACT), Is(&["me", "us", "this", "my"])]),
    order(&[
        Is(NEGATION),
        Many(EVEN),
        Is(&["call"]),
        Is(&["me", "us"]),
        Is(&["anymore", "again", "ever", "any"]),
    ]),
    order(&[Is(NEGATION), Many(EVEN), Is(&["send"]), Many(SEND_FILLERS), Is(SENT_TEXTS)]),
    // "I don't want to receive messages", "no longer wish to be contacted".
    anywhere(&[
        Is(NO_LONGER),
        Many(&["longer", "really"]),
        Is(WANT),
        Many(WANT_FILLERS),
        Is(WANTED),
        Not(PARTIAL),
    ]),
    anywhere(&[
        Is(NO_LONGER),
        Many(&["longer", "really"]),
        Is(WANT),
        Many(&["to", "be"]),
        Is(GET),
        Many(&["any", "more", "of"]),
        Is(&["these", "those", "this", "anything", "them"]),
        Many(&["anymore", "any", "more", "please"]),
        End,
    ]),
    at_start(&[
        Many(BEFORE_STOP),
        Is(&["no"]),
        Is(&["more"]),
        Many(&["of", "these", "those", "your", "text", "sms", "damn"]),
        Is(&[
            "texts",
            "messages",
            "msgs",
            "texting",
            "messaging",
            "sms",
            "notifications",
            "alerts",
            "spam",
            "contact",
        ]),
    ]),
    // "Take me off your list", "remove my number".
    order(&[Is(REMOVE), Is(&["me", "us"]), Many(&["please", "now", "thanks", "thank", "you", "thx"]), End]),
    order(&[Is(TAKE_OFF), Is(&["me", "us"]), Is(&["off"]), Many(&["please", "now", "thanks"]), End]),
    order(&[Is(TAKE_OFF), Is(&["me", "us"]), Many(OFF), Many(LIST_FILLERS), Is(LISTS)]),
    order(&[
        Is(FORGET),
        Is(&["my", "this"]),
        Many(&["phone", "cell", "mobile"]),
        Is(&["number", "num"]),
        May(&["off"]),
        Many(&["please", "now"]),
        End,
    ]),
    order(&[
        Is(FORGET),
        Is(&["my", "this"]),
        Many(&["phone", "cell", "name", "and", "number", "info", "contact"]),
        Is(OFF),
        Many(LIST_FILLERS),
        Is(LISTS),
    ]),
    // "Unsubscribe me", "opt me out".
    order(&[Is(&["unsubscribe", "unsubscribed", "unsuscribe", "unsubcribe"])]),
    order(&[
        Is(&["opt", "opting"]),
        May(&["me", "us"]),
        Is(&["out"]),
        Many(&["please", "now", "thanks", "thank", "you"]),
        End,
    ]),
    order(&[
        Is(&["opt", "opting"]),
        May(&["me", "us"]),
        Is(&["out"]),
        Is(OFF),
        Many(LIST_FILLERS),
        Is(LISTS),
    ]),
    order(&[Is(&["leave"]), Is(&["me", "us"]), Many(&["the", "hell", "fuck", "f"]), Is(&["alone"])]),
    order(&[Is(&["lose"]), Is(&["my", "this"]), Is(&["number"])]),
    // Spanish: "no me manden más mensajes", "dejen de escribirme".
    anywhere(&[
        Is(&["no", "nunca"]),
        May(&["me", "nos"]),
        Is(ES_DO_SEND),
        Many(ES_FILLERS),
        Is(ES_MESSAGES),
        Not(PARTIAL),
    ]),
    anywhere(&[
        Is(&["no", "nunca"]),
        May(&["me", "nos"]),
        Is(ES_DO_SEND),
        Many(ES_COURTESY),
        Is(&["mas"]),
        Many(ES_COURTESY),
        End,
    ]),
    anywhere(&[
        Is(&["no", "nunca"]),
        Is(&["me", "nos"]),
        Is(ES_DO_WRITE),
        Many(&["mas", "a", "este", "numero"]),
    ]),
    anywhere(&[
        Is(&["no"]),
        Is(&["molesten", "molestes", "moleste", "molestar"]),
        Many(&["mas"]),
        Many(ES_COURTESY),
        End,
    ]),
    anywhere(&[
        Is(&["no", "nunca"]),
        Is(&["me"]),
        Is(&["llamen", "llames", "llame"]),
        Is(&["mas"]),
        Many(ES_COURTESY),
        End,
    ]),
    anywhere(&[
        Is(ES_CEASE),
        Is(&["de"]),
        Many(&["estar", "estarme", "me"]),
        Is(ES_SENDING),
        Many(ES_FILLERS),
        Is(ES_MESSAGES),
    ]),
    anywhere(&[
        Is(ES_CEASE),
        Is(&["de"]),
        Many(&["estar", "estarme"]),
        Is(ES_SENDING),
        Many(ES_COURTESY),
        End,
    ]),
    anywhere(&[Is(ES_CEASE), Is(&["de"]), Many(&["estar", "estarme"]), Is(ES_WRITING)]),
    anywhere(&[Is(&["no"]), Is(ES_WANT), Many(ES_FILLERS), Is(ES_MESSAGES), Not(PARTIAL)]),
    anywhere(&[
        Is(&["no"]),
        Is(ES_WANT),
        Is(&["recibir", "recivir", "resibir"]),
        Many(&["mas", "nada", "esto", "estos", "de", "ustedes"]),
        End,
    ]),
    anywhere(&[Is(&["no"]), Is(ES_WANT), Is(&["que"]), Is(&["me", "nos"]), Is(ES_DO_WRITE)]),
    anywhere(&[
        Is(&["no"]),
        Is(ES_WANT),
        Is(&["que"]),
        Is(&["me", "nos"]),
        Is(ES_DO_SEND),
        Many(ES_FILLERS),
        Is(ES_MESSAGES),
    ]),
    anywhere(&[
        Is(&["no"]),
        Is(ES_WANT),
        Is(&["ser"]),
        Is(&["contactado", "contactada", "molestado", "molestada"]),
    ]),
    at_start(&[
        Many(ES_NOW),
        Is(&["no", "basta", "sin"]),
        Many(&["de"]),
        May(&["mas"]),
        Is(ES_MESSAGES),
        Many(&["mas"]),
        Many(ES_COURTESY),
        End,
    ]),
    anywhere(&[Is(ES_REMOVE), May(&["me"]), Many(ES_COURTESY), End]),
    anywhere(&[
        Is(ES_REMOVE_ANY),
        Many(&["me", "por", "favor"]),
        Is(&["de"]),
        Many(&["la", "su", "sus", "esta", "tu", "las"]),
        Is(ES_LISTS),
    ]),
    anywhere(&[
        Is(ES_REMOVE_NUMBER),
        Many(&["por", "favor"]),
        Is(&["mi", "este"]),
        Is(&["numero", "telefono", "celular"]),
    ]),
    anywhere(&[Is(&["denme", "deme", "dame", "darme"]), Is(&["de"]), Is(&["baja"])]),
    anywhere(&[
        Is(&["dar", "den", "de", "dan"]),
        Is(&["de"]),
        Is(&["baja"]),
        Is(&["mi", "este"]),
        Is(&["numero", "telefono", "celular"]),
    ]),
    anywhere(&[Is(&["salir", "salirme", "salgan"]), Is(&["de"]), Many(&["la", "su", "esta"]), Is(ES_LISTS)]),
    anywhere(&[
        Is(&["cancelar", "cancelen", "cancele", "cancela"]),
        Many(&["la", "mi", "esta", "los"]),
        Is(&["suscripcion", "subscripcion", "mensajes"]),
    ]),
    anywhere(&[Is(&["dejame", "dejenme", "dejeme", "dejarme"]), Is(&["en"]), Is(&["paz"])]),
    anywhere(&[Is(&["desuscribir", "desuscribirme", "desuscribanme", "desinscribir", "desinscribirme"])]),
    // Portuguese: "não quero receber mensagens", "pare de me mandar mensagem".
    anywhere(&[Is(PT_NO), Is(PT_WANT), Many(PT_FILLERS), Is(PT_MESSAGES), Not(PARTIAL)]),
    anywhere(&[
        Is(PT_NO),
        Is(PT_WANT),
        Many(&["mais"]),
        Is(&["receber"]),
        Many(&["mais", "nada", "isso", "esses", "de", "voces", "vcs"]),
        End,
    ]),
    anywhere(&[
        Is(PT_NO),
        Is(PT_WANT),
        Many(&["mais"]),
        Is(&["que"]),
        Many(&["voces", "vcs"]),
        Is(&["me"]),
        Is(&["contatem", "procurem", "escrevam", "incomodem", "perturbem", "mandem", "enviem"]),
        Not(PT_OTHER_THINGS),
    ]),
    anywhere(&[
        Is(PT_NO),
        Is(PT_WANT),
        Many(&["mais"]),
        Is(&["ser"]),
        Is(&["contatado", "contatada", "incomodado", "incomodada"]),
    ]),
    anywhere(&[
        Is(PT_NO),
        Many(&["me", "nos"]),
        Is(PT_DO_SEND),
        Many(PT_FILLERS),
        Is(PT_MESSAGES),
        Not(PARTIAL),
    ]),
    anywhere(&[Is(PT_NO), Many(&["me", "nos"]), Is(PT_DO_SEND), Is(&["mais"]), Many(COURTESY), End]),
    anywhere(&[
        Is(PT_NO),
        Many(&["me", "nos"]),
        Is(&["incomode", "incomodem", "perturbe", "perturbem", "contate", "contatem", "escreva", "escrevam"]),
    ]),
    anywhere(&[Is(PT_NO), Is(&["entre", "entrem"]), Many(&["mais"]), Is(&["em"]), Is(&["contato"])]),
    anywhere(&[
        Is(PT_CEASE),
        Is(&["de", "com"]),
        Many(&["me", "ficar", "nos"]),
        Is(PT_SENDING),
        Many(PT_FILLERS),
        Is(PT_MESSAGES),
    ]),
    anywhere(&[Is(PT_CEASE), Is(&["de"]), Many(&["me", "ficar"]), Is(PT_SENDING), Many(COURTESY), End]),
    anywhere(&[
        Is(PT_CEASE),
        Is(&["de"]),
        Is(&["me"]),
        Is(&["incomodar", "perturbar", "encher", "contatar", "escrever", "importunar"]),
    ]),
    anywhere(&[Is(PT_CEASE), Is(&["com", "de"]), Many(PT_FILLERS), Is(PT_MESSAGES)]),
    at_start(&[
        Is(&["chega", "sem", "nada"]),
        Many(&["de", "mais"]),
        Is(PT_MESSAGES),
        Many(&["mais"]),
        Many(COURTESY),
        End,
    ]),
    anywhere(&[Is(PT_REMOVE), Many(COURTESY), End]),
    anywhere(&[Is(&["me"]), Is(PT_REMOVE_ANY), Many(&["por", "favor"]), Many(COURTESY), End]),
    anywhere(&[
        May(&["me"]),
        Is(PT_REMOVE_ANY),
        Is(&["da", "de", "dessa", "desta", "do", "das"]),
        Many(&["sua", "suas", "essa", "seu"]),
        Is(PT_LISTS),
    ]),
    anywhere(&[
        Is(PT_REMOVE_NUMBER),
        Many(&["o", "por", "favor"]),
        Is(&["meu", "este", "esse"]),
        Is(&["numero", "telefone", "celular", "contato"]),
    ]),
    anywhere(&[Is(&["sair"]), Is(&["da", "dessa", "desta"]), Many(&["sua"]), Is(&["lista"])]),
    anywhere(&[
        Is(&["cancelar", "cancele", "cancelem", "cancela"]),
        Many(&["a", "minha", "as", "esta", "essa"]),
        Is(&["inscricao", "assinatura", "mensagens"]),
    ]),
    anywhere(&[Is(&["me"]), Is(&["deixa", "deixe", "deixem"]), Is(&["em"]), Is(&["paz"])]),
    anywhere(&[Is(&["deixa", "deixe", "deixem"]), Is(&["me"]), Is(&["em"]), Is(&["paz"])]),
];

const STOP: Set = &["stop", "stopp", "stopall", "unsubscribe"];
const CEASE: Set = &["stop", "quit", "cease"];
const BEFORE_STOP: Set = &[
    "please", "pls", "plz", "ok", "okay", "hey", "hi", "hello", "i", "said", "just", "no", "yes", "now",
    "again", "wrong", "number", "thanks", "kindly", "por", "favor", "porfa", "stop", "so",
];
const ASKING: Set = &["can", "could", "would", "will"];
const AFTER_STOP: Set = &[
    "please",
    "pls",
    "plz",
    "now",
    "this",
    "it",
    "all",
    "already",
    "thanks",
    "thank",
    "you",
    "thx",
    "ty",
    "immediately",
    "asap",
    "stop",
    "end",
    "quit",
    "cancel",
    "ok",
    "right",
    "wrong",
    "number",
    "sir",
    "maam",
    "everything",
    "por",
    "favor",
    "porfa",
    "gracias",
    "obrigado",
    "obrigada",
    "ya",
];
/// "Can you stop it" is about a noise or a leak.
const AFTER_ASKED: Set =
    &["please", "pls", "plz", "now", "already", "thanks", "thank", "you", "immediately", "stop"];
const COURTESY: Set =
    &["por", "favor", "pfv", "porfa", "obrigado", "obrigada", "gracias", "ya", "ja", "mais"];
const STOP_FILLERS: Set = &[
    "please",
    "pls",
    "plz",
    "with",
    "the",
    "all",
    "these",
    "those",
    "this",
    "your",
    "ur",
    "u",
    "you",
    "sending",
    "send",
    "getting",
    "receiving",
    "me",
    "us",
    "any",
    "of",
    "so",
    "many",
    "damn",
    "fucking",
    "stupid",
    "constant",
    "automated",
    "more",
    "robo",
    "from",
    "los",
    "esos",
    "estos",
    "las",
    "as",
    "esses",
    "essas",
    "trying",
    "to",
    "freaking",
    "annoying",
    "unwanted",
    "spam",
];
const CONTACTING: Set = &[
    "texting",
    "texts",
    "text",
    "textin",
    "txting",
    "txt",
    "txts",
    "messaging",
    "messages",
    "message",
    "msgs",
    "msg",
    "sms",
    "contacting",
    "bothering",
    "spamming",
    "spam",
    "harassing",
    "notifications",
    "mensajes",
    "mensagens",
    "textos",
    "contact",
];
const SENT_THINGS: Set = &[
    "texts",
    "text",
    "messages",
    "message",
    "msgs",
    "sms",
    "stuff",
    "anything",
    "this",
    "these",
    "things",
    "reminders",
    "notices",
    "alerts",
    "notifications",
    "ads",
    "offers",
    "crap",
    "shit",
];
const ME: Set = &[
    "me", "us", "my", "phone", "here", "this", "number", "now", "please", "thanks", "again", "and", "texting",
];
const NEGATION: Set = &["dont", "never", "dnt"];
const EVEN: Set = &["ever", "even", "please", "pls", "plz", "you", "dare"];
const CONTACT: Set = &["text", "txt", "message", "msg", "contact", "sms", "bother", "spam", "harass"];
const SEND_FILLERS: Set =
    &["me", "us", "any", "more", "anymore", "no", "these", "those", "this", "your", "the", "ur"];
const SENT_TEXTS: Set = &[
    "texts",
    "text",
    "messages",
    "message",
    "msgs",
    "msg",
    "sms",
    "anything",
    "notifications",
    "reminders",
    "alerts",
];
const NO_LONGER: Set = &["dont", "no", "not", "dnt", "didnt", "never"];
const WANT: Set = &["want", "wanna", "wish", "need", "care", "wanting"];
const WANT_FILLERS: Set = &[
    "to",
    "be",
    "any",
    "anymore",
    "more",
    "of",
    "the",
    "these",
    "those",
    "this",
    "your",
    "ur",
    "u",
    "you",
    "get",
    "getting",
    "receive",
    "receiving",
    "text",
    "for",
    "from",
    "automated",
    "marketing",
    "recieve",
];
const WANTED: Set = &[
    "texts",
    "messages",
    "msgs",
    "sms",
    "texting",
    "messaging",
    "contacted",
    "texted",
    "messaged",
    "notifications",
    "bothered",
    "alerts",
    "spam",
];
const GET: Set = &["get", "receive", "recieve", "getting", "receiving"];
const REMOVE: Set = &["remove", "delete", "unenroll", "unregister"];
const TAKE_OFF: Set = &["remove", "take", "delete", "drop", "get", "scratch", "cross"];
const FORGET: Set = &["remove", "delete", "erase", "lose", "forget", "take", "block"];
const OFF: Set = &["off", "from", "of", "out"];
const LIST_FILLERS: Set = &[
    "of",
    "the",
    "your",
    "this",
    "that",
    "ur",
    "all",
    "any",
    "text",
    "texting",
    "sms",
    "messages",
    "marketing",
    "mailing",
    "contact",
    "calling",
    "message",
    "messaging",
    "phone",
    "these",
    "those",
    "distribution",
    "future",
    "further",
];
const LISTS: Set = &[
    "list",
    "lists",
    "texts",
    "text",
    "messages",
    "message",
    "messaging",
    "system",
    "database",
    "msgs",
    "sms",
    "subscription",
    "contacts",
    "notifications",
    "alerts",
    "campaign",
    "thread",
    "texting",
    "records",
    "phone",
    "these",
    "this",
    "reminders",
];
/// A message refused because of what it says or who it is from is no refusal of all.
const PARTIAL: Set = &["about", "from", "sobre", "acerca"];

const ES_NOW: Set = &["ya", "por", "favor", "porfavor", "porfa"];
const ES_COURTESY: Set =
    &["por", "favor", "porfavor", "porfa", "gracias", "ya", "nada", "mas", "a", "este", "numero"];
const ES_WANT: Set = &["quiero", "kiero", "deseo", "quisiera", "queremos", "necesito", "acepto", "autorizo"];
const ES_DO_SEND: Set = &[
    "manden", "mande", "mandes", "envien", "envie", "envies", "mandar", "enviar", "mandarme", "enviarme",
    "mandenme", "envienme", "sigan", "siga",
];
const ES_DO_WRITE: Set = &[
    "escriban",
    "escriba",
    "escribas",
    "texteen",
    "textees",
    "textee",
    "contacten",
    "contacte",
    "contactes",
    "molesten",
    "moleste",
    "molestes",
];
const ES_CEASE: Set =
    &["dejen", "deje", "deja", "dejar", "paren", "pare", "parar", "para", "dejan", "favor", "basta", "ya"];
const ES_SENDING: Set = &["mandar", "mandarme", "enviar", "enviarme", "mandando", "mandandome", "enviando"];
const ES_WRITING: Set = &[
    "escribirme",
    "escribir",
    "textearme",
    "textear",
    "molestarme",
    "molestar",
    "molestando",
    "contactarme",
    "contactar",
    "acosarme",
    "acosar",
    "escribiendome",
    "fastidiar",
];
const ES_FILLERS: Set = &[
    "mas",
    "me",
    "recibir",
    "recivir",
    "resibir",
    "estos",
    "esos",
    "los",
    "sus",
    "tus",
    "mandando",
    "enviando",
    "tantos",
    "ningun",
    "ninguno",
    "de",
    "este",
    "ese",
    "tipo",
    "estas",
    "por",
    "favor",
    "a",
    "numero",
    "mandandome",
];
const ES_MESSAGES: Set = &[
    "mensajes",
    "mensaje",
    "mensages",
    "mensage",
    "textos",
    "texto",
    "sms",
    "msjs",
    "msj",
    "msg",
    "notificaciones",
    "recordatorios",
    "avisos",
    "alertas",
    "publicidad",
    "propaganda",
    "spam",
];
const ES_REMOVE: Set = &[
    "borrenme",
    "borreme",
    "borrame",
    "eliminenme",
    "elimineme",
    "eliminame",
    "remuevanme",
    "remuevame",
    "remueveme",
];
const ES_REMOVE_ANY: Set = &[
    "quitenme",
    "quiteme",
    "quitame",
    "quitarme",
    "quiten",
    "quite",
    "saquenme",
    "saqueme",
    "sacame",
    "sacarme",
    "borrenme",
    "borreme",
    "borrame",
    "borrarme",
    "eliminenme",
    "elimineme",
    "eliminame",
    "eliminarme",
    "remover",
    "remuevan",
    "remuevanme",
    "remuevame",
    "quitar",
    "sacar",
    "borrar",
    "eliminar",
];
const ES_REMOVE_NUMBER: Set = &[
    "borren", "borre", "borra", "borrar", "eliminen", "elimine", "elimina", "eliminar", "quiten", "quite",
    "quita", "quitar", "saquen", "saque", "remuevan", "remueva", "remover",
];
const ES_LISTS: Set = &["lista", "listas", "mensajes", "sistema", "textos", "notificaciones", "grupo"];

const PT_NO: Set = &["nao", "n", "nunca", "num"];
const PT_WANT: Set = &["quero", "desejo", "gostaria", "queria", "queremos", "preciso", "autorizo", "aceito"];
const PT_DO_SEND: Set = &["mande", "mandem", "manda", "envie", "enviem", "envia", "mandar", "enviar"];
const PT_CEASE: Set = &["pare", "parem", "para", "parar", "paren", "chega"];
const PT_SENDING: Set = &["mandar", "enviar", "mandando", "enviando"];
const PT_FILLERS: Set = &[
    "mais", "de", "receber", "me", "as", "essas", "estas", "esse", "este", "esses", "suas", "tantas",
    "nenhuma", "por", "favor", "tipo", "mandar", "mandem", "que", "vcs", "voces", "os", "a", "essa",
];
const PT_MESSAGES: Set = &[
    "mensagem",
    "mensagens",
    "msg",
    "msgs",
    "sms",
    "textos",
    "torpedos",
    "notificacoes",
    "notificacao",
    "avisos",
    "lembretes",
    "propaganda",
    "spam",
    "mensagen",
];
const PT_OTHER_THINGS: Set = &["o", "a", "os", "as", "um", "uma", "boleto", "multa", "conta", "para", "por"];
const PT_REMOVE: Set = &["descadastrar", "descadastre", "desinscrever", "descadastra", "removame", "removam"];
const PT_REMOVE_ANY: Set = &[
    "tira",
    "tire",
    "tirem",
    "tirar",
    "remova",
    "remove",
    "removam",
    "remover",
    "exclua",
    "exclui",
    "excluam",
    "excluir",
    "retire",
    "retirem",
    "retirar",
    "descadastre",
    "descadastra",
    "apague",
];
const PT_REMOVE_NUMBER: Set = &[
    "tira",
    "tire",
    "tirem",
    "tirar",
    "remova",
    "remove",
    "removam",
    "remover",
    "exclua",
    "excluam",
    "excluir",
    "apague",
    "apaguem",
    "apagar",
    "retire",
    "retirem",
    "descadastre",
];
const PT_LISTS: Set = &["lista", "listas", "mensagens", "sistema", "grupo", "cadastro"];
