//! The table of refusals and near-misses: what counts as an opt-out in free text is what stands here.

use super::*;

fn is_free_text_refusal(body: &str) -> bool {
    matches!(classify(body), Some(Keyword::Stop { kind: StopKind::FreeText, .. }))
}

/// The writer wants no more messages.
const REFUSALS: &[&str] = &[
    // English
    "please stop texting me",
    "Stop texting me!!",
    "STOP MESSAGING ME",
    "pls stop sending me messages",
    "stop sending me these texts please",
    "Stop sending me reminders",
    "quit texting me",
    "quit sending me this stuff",
    "can you stop texting me",
    "Could you please stop messaging me?",
    "would u stop texting this number",
    "I want you to stop texting me",
    "I need you to stop contacting me.",
    "i asked you to stop texting me",
    "im not maria stop texting me",
    "wrong number, stop texting me",
    "You have the wrong number and stop texting me",
    "stop spamming me",
    "stop harassing me",
    "Stop contacting me at this number",
    "how do i stop these texts",
    "How do I stop getting these messages?",
    "stop calling me",
    "stop the messages",
    "stop with the texts already",
    "please stop",
    "Stop please",
    "stop now",
    "STOP STOP STOP",
    "can you stop",
    "ok stop",
    "I said stop",
    "i already said stop",
    "I texted STOP already",
    "stop wrong number",
    "STOP\nSent from my iPhone",
    "don't text me",
    "Don’t text me anymore",
    "do not text me again",
    "DO NOT CONTACT ME",
    "please do not message me",
    "never text me again",
    "dont bother me",
    "don't call me again",
    "don't send me any more texts",
    "do not send messages to this number",
    "please don't send me anything",
    "I don't want to receive messages",
    "I do not want to receive these texts anymore",
    "i dont want your messages",
    "I no longer wish to be contacted",
    "I no longer want to receive text messages",
    "i dont want these texts",
    "I don't want to get these anymore",
    "no more texts",
    "No more messages please",
    "take me off your list",
    "please take me off this list",
    "Can you take me off the text list?",
    "remove me",
    "remove me please",
    "Please remove me from your list",
    "remove me from these messages",
    "get me off your texting list",
    "remove my number",
    "please delete my number",
    "delete my number from your system",
    "lose my number",
    "unsubscribe me",
    "please unsubscribe",
    "I want to unsubscribe",
    "how do I unsubscribe?",
    "opt me out",
    "I want to opt out",
    "I'd like to opt out of these messages",
    "opt out please",
    "leave me alone",
    "Leave me alone!!!",
    "Stop it with the messages",
    "no texts please",
    "I don't want texts from you",
    "stop bugging me",
    "stop blowing up my phone",
    "I asked you not to text me",
    "please cease all communication",
    "I revoke my consent",
    "I withdraw consent to be texted",
    "cancel messages",
    "please cancel my subscription",
    // Spanish
    "no me manden más mensajes",
    "No me manden mas mensajes por favor",
    "no me mande mas textos",
    "ya no me manden mensajes",
    "por favor no me envíen más mensajes",
    "no me envien mas",
    "no me escriban más",
    "Por favor ya no me escriban",
    "no me molesten",
    "no molesten mas",
    "no me texteen",
    "no me llamen más",
    "dejen de mandarme mensajes",
    "deja de mandar mensajes",
    "dejen de escribirme",
    "Dejen de molestar",
    "paren de mandar mensajes",
    "no quiero recibir",
    "no quiero recibir mensajes",
    "no quiero recibir más mensajes de ustedes",
    "ya no quiero mensajes",
    "no quiero mas mensajes",
    "no quiero que me escriban",
    "No deseo recibir mensajes de texto",
    "no deseo ser contactado",
    "no más mensajes",
    "Basta",
    "ya basta",
    "basta de mensajes",
    "quítenme de la lista",
    "me pueden quitar de su lista",
    "sáquenme de la lista por favor",
    "borren mi numero",
    "elimine mi número por favor",
    "bórrenme",
    "denme de baja",
    "quiero darme de baja",
    "baja por favor",
    "cancelar suscripción",
    "quiero salir de la lista",
    "déjenme en paz",
    "stop por favor",
    "stop los mensajes",
    "quiero que me saquen de la lista",
    "no me envíen nada",
    "ya paren con los mensajes",
    "me quiero dar de baja",
    "no me vuelvan a escribir",
    "no vuelvan a mandarme mensajes",
    "detener mensajes",
    // Portuguese
    "não quero receber mensagens",
    "nao quero receber mensagem",
    "não quero receber",
    "Não quero mais receber mensagens",
    "não quero mais mensagens",
    "não desejo receber mensagens",
    "não gostaria de receber mensagens",
    "não me mande mais mensagens",
    "não mandem mais mensagem",
    "nao me envie mais msg",
    "nao me mande mais",
    "pare de me mandar mensagem",
    "Parem de mandar mensagens",
    "para de me mandar msg",
    "pare de mandar sms",
    "parem com as mensagens",
    "pare de me incomodar",
    "não me incomodem",
    "não me perturbe",
    "não entre em contato",
    "não quero ser contatado",
    "me tira da lista",
    "me tire dessa lista",
    "por favor me remova da lista",
    "me remova",
    "remova meu número",
    "tira o meu numero",
    "me descadastre",
    "quero sair da lista",
    "cancelar inscrição",
    "me deixa em paz",
    "deixem-me em paz",
    "chega de mensagens",
    "quero ser removido da lista",
    "não me envie nada",
    "parem de me ligar e mandar mensagem",
    "não quero mais contato",
    "pare por favor",
];

/// It has the words, and means something else.
const NEAR_MISSES: &[&str] = &[
    // English
    "stop by tomorrow",
    "can you stop by",
    "Can you please stop by the unit today?",
    "someone needs to stop the leak",
    "please stop the leak",
    "the water won't stop",
    "it won't stop leaking",
    "The alarm doesn't stop",
    "my neighbor won't stop calling me",
    "they never stop texting me about parking",
    "my ex wont stop texting me",
    "I told my neighbor to stop texting me",
    "don't stop texting me",
    "I don't want to stop receiving messages",
    "i will stop texting you now",
    "can i stop paying rent",
    "stop payment on my check please",
    "I put a stop payment on the check",
    "is there a bus stop near the building",
    "the noise has to stop",
    "please make the noise stop",
    "make it stop",
    "I said stop by after 5",
    "please stop the eviction notice",
    "cancel my appointment",
    "Please cancel the work order",
    "I need to cancel my move out",
    "can I cancel?",
    "end of month",
    "I'll pay at the end of the week",
    "my lease will end in june",
    "I quit my job",
    "I quit smoking",
    "remove the trash please",
    "remove me from the lease",
    "please remove my roommate from the lease",
    "take my name off the lease",
    "take the late fee off",
    "please don't remove me from the waiting list",
    "don't take me off the list",
    "did you remove me from the list",
    "can you opt me out of the renters insurance",
    "I want to opt out of pest control",
    "don't call me, text me instead",
    "please don't call me at work",
    "don't text me after 9pm",
    "Please do not text me at work",
    "dont text me back tonight im asleep",
    "you don't text me back",
    "you never contact me when its ready",
    "the office did not contact me",
    "why don't you text me",
    "nobody contacted me",
    "don't send anyone today",
    "don't send the plumber until monday",
    "I don't want to receive a fine",
    "i dont want to live here anymore",
    "I don't want any problems",
    "I don't need help anymore",
    "no more hot water",
    "no more heat",
    "leave the package alone please",
    "leave me a message",
    "who is this",
    "wrong number",
    "not interested in the renewal",
    "yes please come",
    "start tomorrow",
    "when does it start",
    "help me with my sink",
    "I need help",
    "info about the apartment please",
    "Liked “Your rent is due. Reply STOP to unsubscribe.”",
    "Loved “Reply STOP to opt out”",
    "what happens if I text STOP",
    "stop sign is broken in the parking lot",
    "the elevator stops at 3",
    "please stop charging me",
    "stop my autopay",
    "cancel my autopay",
    "take me off autopay",
    "revoke my parking pass",
    "I don't get text messages from maintenance",
    "no more notices on my door please",
    "no more roaches please",
    "tell upstairs to stop stomping",
    "non stop noise all night",
    // Spanish
    "no quiero recibir una multa",
    "no quiero pagar mas",
    "no me manden al plomero hoy",
    "no me mande la cuenta al correo",
    "no me han mandado el mensaje",
    "no me llaman",
    "no me escriben",
    "no me llamen ahora estoy trabajando",
    "no me escriban después de las 9",
    "no recibí mensajes",
    "no para de sonar",
    "el agua no para",
    "para de llover y paso a pagar",
    "dejen de tocar la puerta",
    "dejen la llave en la oficina",
    "cancelar la cita",
    "quiero cancelar mi contrato",
    "quiero dar de baja el contrato",
    "quiero salir del contrato",
    "voy a salir",
    "voy a salir temprano",
    "el volumen esta muy alto",
    "el recibo salió muy alto",
    "mi vecina de la planta baja",
    "la presión del agua está baja",
    "quítenme el recargo",
    "quiten la basura",
    "no quiero mas ruido",
    "dejen de hacer ruido",
    "ya paren la musica",
    "no manden a nadie hoy",
    "quiten mi nombre del contrato",
    "deje un mensaje",
    "no más agua caliente",
    "si por favor vengan",
    "mandar mensajes por aqui esta bien?",
    // Portuguese
    "não quero receber multa",
    "não recebi a mensagem",
    "não me mandaram mensagem",
    "a água não para de vazar",
    "o alarme não para",
    "para de chover e eu vou aí",
    "para amanhã",
    "pare o vazamento",
    "pode parar na vaga?",
    "me tira uma dúvida",
    "vou sair do apartamento",
    "quero sair do contrato",
    "vou sair mais tarde",
    "cancelar a visita",
    "não quero mais o apartamento",
    "remover o lixo",
    "chega de barulho",
    "parem com o barulho",
    "me tira da fila",
    "mande mensagem",
    "não me mande o boleto por email",
    "não me escreva depois das 9",
    "sim pode vir",
];

#[test]
fn refusals_in_three_languages_opt_out() {
    let missed: Vec<_> = REFUSALS.iter().filter(|body| !is_free_text_refusal(body)).collect();
    assert!(missed.is_empty(), "missed: {missed:#?}");
}

#[test]
fn near_misses_ask_nothing_of_the_ledger() {
    let taken: Vec<_> = NEAR_MISSES.iter().filter_map(|body| Some((body, classify(body)?))).collect();
    assert!(taken.is_empty(), "mistaken: {taken:#?}");
}

#[test]
fn case_accents_and_apostrophes_do_not_matter_in_refusals() {
    for body in REFUSALS {
        let shouted = body.to_uppercase();
        assert!(is_free_text_refusal(&shouted), "{shouted}");
        let plain = fold(body);
        assert!(is_free_text_refusal(&plain), "{plain}");
    }
}

#[test]
fn a_refusal_survives_a_greeting_before_and_a_signature_after() {
    for body in REFUSALS {
        let signed = format!("Hi, {body}. Thanks\nMaria Lopez, unit 4B");
        assert!(is_free_text_refusal(&signed), "{signed}");
    }
}

#[test]
fn whole_message_words_opt_out_in_any_dress() {
    for word in TWILIO_STOP_WORDS.iter().chain(OTHER_STOP_WORDS) {
        let dresses = [
            word.to_string(),
            word.to_uppercase(),
            format!("  {word}.\n"),
            format!("¡{word}!! 😡"),
            format!("\"{word}\""),
        ];
        for body in dresses {
            let Some(Keyword::Stop { words, kind }) = classify(&body) else { panic!("missed {body:?}") };
            assert_eq!((words.as_ref(), kind), (*word, StopKind::Word), "{body:?}");
        }
    }
}

#[test]
fn spellings_of_one_word_are_one_word() {
    for (body, word) in
        [("STOP ALL", "stopall"), ("opt-out", "optout"), ("Opt out.", "optout"), ("Párar", "parar")]
    {
        assert_eq!(classify(body), Some(Keyword::Stop { words: Cow::Borrowed(word), kind: StopKind::Word }));
    }
}

#[test]
fn start_and_help_must_be_the_whole_message() {
    for (body, word) in [("START", "start"), ("Yes!", "yes"), ("unstop 🙏", "unstop")] {
        assert_eq!(classify(body), Some(Keyword::Start { word }), "{body:?}");
    }
    for body in ["HELP", "help?", "info"] {
        assert_eq!(classify(body), Some(Keyword::Help), "{body:?}");
    }
    for body in ["yes please come", "y es", "please help", "start over"] {
        assert_eq!(classify(body), None, "{body:?}");
    }
}

#[test]
fn yes_opts_in_again_on_a_local_number_only() {
    let yes = classify("yes").unwrap();
    assert!(is_toll_free("+18885550100"));
    assert!(!is_toll_free("+18085550100"));
    assert!(!is_toll_free("+448005550100"));
    assert_eq!(yes.on_toll_free(), None);
    let unstop = classify("unstop").unwrap();
    assert_eq!(unstop.clone().on_toll_free(), Some(unstop));
    let baja = classify("baja").unwrap();
    assert_eq!(baja.clone().on_toll_free(), Some(baja), "a refusal counts on every number");
}

#[test]
fn only_what_twilio_acts_on_needs_no_confirmation_of_ours() {
    for (body, answered) in
        [("stop", true), ("yes", true), ("baja", false), ("please stop texting me", false)]
    {
        assert_eq!(classify(body).unwrap().is_answered_by_twilio(), answered, "{body:?}");
    }
}

#[test]
fn the_ledger_gets_the_words_that_refused() {
    let refusal = classify("Hello. Please don’t text me again, I moved out.").unwrap();
    assert_eq!(refusal, Keyword::Stop { words: Cow::Borrowed("dont text me"), kind: StopKind::FreeText });
}

#[test]
fn nothing_is_read_into_empty_or_wordless_messages() {
    for body in ["", " \n", "👍", "...", "123", "?!", "“”", "你好"] {
        assert_eq!(classify(body), None, "{body:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(body in "\\PC{0,300}") {
        let _ = classify(&body);
    }
}
