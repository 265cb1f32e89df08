//! The sets of words that the Spanish patterns are made of.

use super::Set;

pub(super) const NO: Set = &["no", "nunca", "jamas"];
pub(super) const GO_ON: Set =
    &["esten", "este", "estes", "sigan", "siga", "sigas", "anden", "ande", "andes", "continuen", "continue"];
pub(super) const WRITING_ON: Set = &[
    "escribiendo",
    "escribiendome",
    "molestando",
    "molestandome",
    "texteando",
    "texteandome",
    "contactando",
    "contactandome",
    "acosando",
    "fastidiando",
];
pub(super) const SENDING_ON: Set = &["mandando", "mandandome", "enviando", "enviandome"];
pub(super) const GIVE: Set =
    &["doy", "dan", "den", "da", "de", "des", "dar", "denme", "deme", "dame", "darme"];
/// Behind a number that is to be removed: from something, or another number than the writer's.
pub(super) const NOT_THIS_ONE: Set = &["de", "del", "en", "viejo", "anterior", "antiguo", "pasado"];
pub(super) const PHONES: Set = &["numero", "telefono", "celular", "cel"];
pub(super) const HALT: Set = &[
    "parar",
    "parenle",
    "paren",
    "pare",
    "detengan",
    "detenga",
    "detener",
    "suspendan",
    "suspenda",
    "suspender",
    "cancelen",
    "cancele",
    "cancela",
    "cancelar",
    "cancelo",
    "desactiven",
    "desactive",
    "desactivar",
    "desactiva",
    "desactivo",
    "apaguen",
    "terminen",
];
pub(super) const ALL: Set = &[
    "ya", "todos", "todas", "los", "las", "sus", "tus", "estos", "esos", "estas", "tantos", "tanto", "de",
    "mas",
];
pub(super) const MANY_MESSAGES: Set =
    &["mensajes", "mensages", "textos", "sms", "msjs", "notificaciones", "recordatorios", "alertas", "spam"];
pub(super) const ANY_CONTACT: Set = &[
    "escribirme",
    "textearme",
    "contactarme",
    "mandarme",
    "enviarme",
    "escriban",
    "contacten",
    "manden",
    "envien",
    "texteen",
];

pub(super) const NOW: Set = &["ya", "por", "favor", "porfavor", "porfa"];
pub(super) const COURTESY: Set = &[
    "por", "favor", "porfavor", "porfa", "gracias", "ya", "nada", "mas", "a", "este", "numero", "please",
    "pls", "thanks",
];
pub(super) const WANT: Set =
    &["permito", "quiero", "kiero", "deseo", "quisiera", "queremos", "necesito", "acepto", "autorizo"];
pub(super) const DO_SEND: Set = &[
    "pasen", "manden", "mande", "mandes", "envien", "envie", "envies", "mandar", "enviar", "mandarme",
    "enviarme", "mandenme", "envienme", "sigan", "siga",
];
pub(super) const DO_WRITE: Set = &[
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
pub(super) const AGAIN: Set = &["vuelvan", "vuelva", "vuelvas"];
pub(super) const CEASE: Set = &[
    "stop", "dejenme", "dejeme", "dejame", "dejaran", "dejara", "pararan", "dejen", "deje", "deja", "dejar",
    "paren", "pare", "parar", "para", "dejan", "favor", "basta", "ya",
];
pub(super) const SENDING: Set =
    &["mandar", "mandarme", "enviar", "enviarme", "mandando", "mandandome", "enviando"];
pub(super) const WRITING: Set = &[
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
pub(super) const FILLERS: Set = &[
    "nada",
    "seguir",
    "recibiendo",
    "otro",
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
pub(super) const MESSAGES: Set = &[
    "mensajitos",
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
pub(super) const REMOVE: Set = &[
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
pub(super) const REMOVE_ANY: Set = &[
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
    "saquen",
    "saque",
];
pub(super) const REMOVE_NUMBER: Set = &[
    "bloqueen", "bloquee", "borren", "borre", "borra", "borrar", "eliminen", "elimine", "elimina",
    "eliminar", "quiten", "quite", "quita", "quitar", "saquen", "saque", "remuevan", "remueva", "remover",
];
pub(super) const LISTS: Set = &[
    "lista",
    "listas",
    "mensajes",
    "sistema",
    "textos",
    "notificaciones",
    "grupo",
    "contactos",
    "registros",
    "ahi",
    "alli",
    "aqui",
];
