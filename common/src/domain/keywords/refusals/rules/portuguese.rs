//! Refusals in Portuguese.

use super::Step::{End, Is, Many, May, Not};
use super::{COURTESY, PARTIAL, Rule, Set, anywhere, at_start};

pub(super) const RULES: &[Rule] = &[
    // Portuguese: "não quero receber mensagens", "pare de me mandar mensagem".
    anywhere(&[Is(NO), Is(WANT), Many(FILLERS), Is(MESSAGES), Not(PARTIAL)]),
    anywhere(&[
        Is(NO),
        Is(WANT),
        Many(&["mais"]),
        Is(&["receber"]),
        Many(&["mais", "nada", "isso", "esses", "de", "voces", "vcs"]),
        End,
    ]),
    anywhere(&[
        Is(NO),
        Is(WANT),
        Many(&["mais"]),
        Is(&["que"]),
        Many(&["voces", "vcs"]),
        Is(&["me"]),
        Is(&["contatem", "procurem", "escrevam", "incomodem", "perturbem", "mandem", "enviem"]),
        Not(OTHER_THINGS),
    ]),
    anywhere(&[
        Is(NO),
        Is(WANT),
        Many(&["mais"]),
        Is(&["ser"]),
        Is(&["contatado", "contatada", "incomodado", "incomodada"]),
    ]),
    anywhere(&[Is(NO), Many(&["me", "nos"]), Is(DO_SEND), Many(FILLERS), Is(MESSAGES), Not(PARTIAL)]),
    anywhere(&[Is(NO), Many(&["me", "nos"]), Is(DO_SEND), Is(&["mais"]), Many(COURTESY), End]),
    anywhere(&[
        Is(NO),
        Many(&["me", "nos"]),
        Is(&["incomode", "incomodem", "perturbe", "perturbem", "contate", "contatem", "escreva", "escrevam"]),
    ]),
    anywhere(&[Is(NO), Is(&["entre", "entrem"]), Many(&["mais"]), Is(&["em"]), Is(&["contato"])]),
    anywhere(&[
        Is(CEASE),
        Is(&["de", "com"]),
        Many(&["me", "ficar", "nos"]),
        Is(SENDING),
        Many(FILLERS),
        Is(MESSAGES),
    ]),
    anywhere(&[Is(CEASE), Is(&["de"]), Many(&["me", "ficar"]), Is(SENDING), Many(COURTESY), End]),
    anywhere(&[
        Is(CEASE),
        Is(&["de"]),
        Is(&["me"]),
        Is(&["incomodar", "perturbar", "encher", "contatar", "escrever", "importunar"]),
    ]),
    anywhere(&[Is(CEASE), Is(&["com", "de"]), Many(FILLERS), Is(MESSAGES)]),
    at_start(&[
        Is(&["chega", "sem", "nada"]),
        Many(&["de", "mais"]),
        Is(MESSAGES),
        Many(&["mais"]),
        Many(COURTESY),
        End,
    ]),
    anywhere(&[Is(REMOVE), Many(COURTESY), End]),
    anywhere(&[Is(&["me"]), Is(REMOVE_ANY), Many(&["por", "favor"]), Many(COURTESY), End]),
    anywhere(&[
        May(&["me"]),
        Is(REMOVE_ANY),
        Is(&["da", "de", "dessa", "desta", "do", "das"]),
        Many(&["sua", "suas", "essa", "seu"]),
        Is(LISTS),
    ]),
    anywhere(&[
        Is(REMOVE_NUMBER),
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
    anywhere(&[
        Is(NO),
        Many(&["me", "nos"]),
        Is(DO_SEND),
        Many(&["mais"]),
        Is(&["nada"]),
        Many(COURTESY),
        End,
    ]),
    anywhere(&[Is(NO), Is(WANT), Is(&["mais"]), Is(&["contato"]), Many(COURTESY), End]),
    anywhere(&[Is(CEASE), Is(&["de"]), Is(&["me"]), Is(&["ligar"]), Many(COURTESY), End]),
    anywhere(&[
        Is(CEASE),
        Is(&["de"]),
        Is(&["me"]),
        Is(&["ligar"]),
        Is(&["e", "ou"]),
        Is(SENDING),
        Many(FILLERS),
        Is(MESSAGES),
    ]),
    anywhere(&[
        Is(&["removido", "removida", "excluido", "excluida", "retirado", "retirada"]),
        Is(&["da", "de", "dessa", "desta", "do"]),
        Many(&["sua", "seu"]),
        Is(LISTS),
    ]),
];

const NO: Set = &["nao", "n", "nunca", "num"];
const WANT: Set = &["quero", "desejo", "gostaria", "queria", "queremos", "preciso", "autorizo", "aceito"];
const DO_SEND: Set = &["mande", "mandem", "manda", "envie", "enviem", "envia", "mandar", "enviar"];
const CEASE: Set = &["pare", "parem", "para", "parar", "paren", "chega"];
const SENDING: Set = &["mandar", "enviar", "mandando", "enviando"];
const FILLERS: Set = &[
    "mais", "de", "receber", "me", "as", "essas", "estas", "esse", "este", "esses", "suas", "tantas",
    "nenhuma", "por", "favor", "tipo", "mandar", "mandem", "que", "vcs", "voces", "os", "a", "essa",
];
const MESSAGES: Set = &[
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
const OTHER_THINGS: Set = &["o", "a", "os", "as", "um", "uma", "boleto", "multa", "conta", "para", "por"];
const REMOVE: Set = &["descadastrar", "descadastre", "desinscrever", "descadastra", "removame", "removam"];
const REMOVE_ANY: Set = &[
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
const REMOVE_NUMBER: Set = &[
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
const LISTS: Set = &["lista", "listas", "mensagens", "sistema", "grupo", "cadastro"];
