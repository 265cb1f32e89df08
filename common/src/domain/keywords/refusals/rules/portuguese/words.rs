//! The sets of words that the Portuguese patterns are made of.

use super::Set;

pub(super) const NO: Set = &["nao", "n", "nunca", "num", "jamais"];
pub(super) const GO_ON: Set =
    &["fique", "fiquem", "fica", "continue", "continuem", "continua", "esteja", "estejam"];
pub(super) const SENDING_ON: Set = &["mandando", "enviando"];
pub(super) const WRITING_ON: Set =
    &["incomodando", "perturbando", "escrevendo", "importunando", "contatando", "enchendo"];
/// Behind a number that is to be removed: from something, or another number than the writer's.
pub(super) const NOT_THIS_ONE: Set =
    &["de", "do", "da", "no", "na", "antigo", "velho", "anterior", "passado"];
pub(super) const PHONES: Set = &["numero", "telefone", "celular", "contato", "cel"];
pub(super) const FROM: Set = &["da", "de", "dessa", "desta", "do", "das", "desse", "dos"];
pub(super) const HALT: Set = &[
    "desliga",
    "desligue",
    "parem",
    "pare",
    "cancelo",
    "cancelar",
    "cancele",
    "cancelem",
    "cancela",
    "desativar",
    "desative",
    "desativem",
    "desativa",
    "desativo",
    "suspender",
    "suspendam",
    "suspenda",
    "interromper",
    "interrompam",
    "interrompa",
    "desliguem",
    "desligar",
    "encerrem",
    "encerrar",
    "cessem",
];
pub(super) const ALL: Set = &[
    "as", "essas", "estas", "esses", "os", "todas", "suas", "de", "com", "texto", "tantas", "tanta", "mais",
    "ja",
];
pub(super) const MANY_MESSAGES: Set =
    &["mensagens", "msgs", "sms", "notificacoes", "lembretes", "alertas", "textos", "spam"];
pub(super) const WANT: Set =
    &["quero", "desejo", "gostaria", "queria", "queremos", "preciso", "autorizo", "aceito"];
pub(super) const DO_SEND: Set = &["mande", "mandem", "manda", "envie", "enviem", "envia", "mandar", "enviar"];
pub(super) const CEASE: Set = &["parassem", "parasse", "pare", "parem", "para", "parar", "paren", "chega"];
pub(super) const SENDING: Set = &["mandar", "enviar", "mandando", "enviando", "mandarem", "enviarem"];
pub(super) const FILLERS: Set = &[
    "mais", "de", "receber", "me", "as", "essas", "estas", "esse", "este", "esses", "suas", "tantas",
    "dessas", "desses", "destas", "nenhuma", "nenhum", "por", "favor", "tipo", "mandar", "mandem", "que",
    "vcs", "voces", "os", "a", "essa",
];
pub(super) const MESSAGES: Set = &[
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
pub(super) const OTHER_THINGS: Set =
    &["o", "a", "os", "as", "um", "uma", "boleto", "multa", "conta", "para", "por"];
pub(super) const REMOVE: Set =
    &["descadastrar", "descadastre", "desinscrever", "descadastra", "removame", "removam"];
pub(super) const REMOVE_ANY: Set = &[
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
pub(super) const REMOVE_NUMBER: Set = &[
    "apaga",
    "deleta",
    "delete",
    "deletem",
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
    "exclui",
    "apague",
    "apaguem",
    "apagar",
    "retira",
    "retirar",
    "retire",
    "retirem",
    "descadastre",
];
pub(super) const LISTS: Set = &["contatos", "lista", "listas", "mensagens", "sistema", "grupo", "cadastro"];
