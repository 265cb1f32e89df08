//! A database with conversations, a Monitor, a profile service, and the function.

use common::db::inbound::{self, NewInbound};
use common::domain::ids::ConversationId;
use common::domain::keywords::OptOut;
use common::domain::phone::InboundSender;
use serde_json::{Value, json};
use testing::{Database, Function, batch, failed};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const BINARY: &str = env!("CARGO_BIN_EXE_identify-tenant");

/// The tenant of a conversation.
pub const CONVERSATION: &str =
    "select coalesce(tenant_id, 'none') || coalesce(' ' || tenant_candidates::text, '')
    from sms_conversations where phone_number_canonical = ";

pub struct World {
    pub database: Database,
    pub monitor: MockServer,
    pub profiles: MockServer,
}

impl World {
    pub async fn start() -> Self {
        Self {
            database: Database::create().await,
            monitor: MockServer::start().await,
            profiles: MockServer::start().await,
        }
    }

    pub async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    /// Starts the function with changed or additional environment variables.
    pub async fn function_with(&self, changes: &[(&str, &str)]) -> Function {
        let (database, monitor, profiles) = (self.database.url(), self.monitor.uri(), self.profiles.uri());
        let mut variables = vec![
            ("DATABASE_URL", database.as_str()),
            ("MONITOR_API_URL", &monitor),
            ("TENANT_PROFILE_API_URL", &profiles),
        ];
        variables.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// Sets the Monitor's response for one spelling, for at most `times` requests if given.
    pub async fn respond_with(&self, spelling: &str, response: ResponseTemplate, times: Option<u64>) {
        let mock = Mock::given(method("GET"))
            .and(path("/tenants/lookup"))
            .and(query_param("phone", spelling))
            .respond_with(response);
        let mock = match times {
            Some(times) => mock.up_to_n_times(times),
            None => mock,
        };
        mock.mount(&self.monitor).await;
    }

    /// Adds a match for one spelling to the Monitor.
    pub async fn add_match(&self, spelling: &str, response: Value) {
        self.respond_with(spelling, ResponseTemplate::new(200).set_body_json(response), None).await;
    }

    /// Returns the spellings that the Monitor received, in order.
    pub async fn lookups(&self) -> Vec<String> {
        let requests = self.monitor.received_requests().await.unwrap();
        requests.iter().map(|request| request.url.query_pairs().next().unwrap().1.into_owned()).collect()
    }

    /// Returns the requests to the profile service, in order.
    pub async fn profile_updates(&self) -> Vec<String> {
        let requests = self.profiles.received_requests().await.unwrap();
        requests
            .iter()
            .map(|request| {
                format!(
                    "{} {} {}",
                    request.method,
                    request.url.path(),
                    String::from_utf8_lossy(&request.body)
                )
            })
            .collect()
    }

    /// Stores an inbound message and returns the queue message that `record-inbound` creates for it.
    pub async fn text(&self, from: &str, language: &str, confidence: f64) -> Value {
        let message = text(from, language, confidence);
        let stored = inbound::store(&self.database.db(), &[message]).await.unwrap();
        identify(stored[0].conversation_id, from)
    }

    /// Returns the tenant and the candidates of a conversation.
    pub async fn is(&self, number: &str) -> String {
        self.database.scalar(&format!("{CONVERSATION}'{number}'")).await
    }

    pub async fn language(&self, number: &str) -> String {
        let sql = format!(
            "select language_detected || ' ' || language_confidence || case when language_own then ' own' else '' end
             from sms_conversations where phone_number_canonical = '{number}'"
        );
        self.database.scalar(&sql).await
    }

    /// Returns the events of a type, as `a>b` of two of their fields.
    pub async fn events(&self, kind: &str, from: &str, to: &str) -> String {
        self.database.number_events().await;
        let sql = format!(
            "select coalesce(string_agg(coalesce(data->>'{from}', '-') || '>' || (data->>'{to}'), ' '
                order by position), '')
             from (select *, body::jsonb->'data' as data from sms_events) e where event_type = 'conversation.{kind}'"
        );
        self.database.scalar(&sql).await
    }

    /// Makes the lookup of the remaining spellings due.
    pub async fn confirms(&self, function: &mut Function, message: &Value) {
        self.time_passes().await;
        succeeds(function, std::slice::from_ref(message)).await;
    }

    /// Makes every check due.
    pub async fn time_passes(&self) {
        let sql = "update sms_conversations set tenant_next_check_at = now() - interval '1 second'";
        self.database.client.batch_execute(sql).await.unwrap();
    }
}

pub fn text(from: &str, language: &str, confidence: f64) -> NewInbound {
    let sid = format!("SM{}", common::clock::new_id().simple());
    NewInbound {
        id: common::clock::new_id().into(),
        conversation_id: common::clock::new_id().into(),
        account_sid: "AC1".parse().unwrap(),
        phone_number_canonical: InboundSender::from_canonical(from),
        from_number: from.to_owned(),
        to_number: "+15005550006".to_owned(),
        messaging_service_sid: None,
        message_content: "the sink leaks".to_owned(),
        media: json!([]),
        raw_webhook_data: json!({"MessageSid": sid}),
        twilio_sid: sid.parse().unwrap(),
        nul_removed: false,
        language: language.parse().unwrap(),
        language_confidence: confidence,
        opt_out_result: OptOut::None,
        opt_out: None,
        request_id: "r-1".to_owned(),
        received_at: common::clock::now(),
    }
}

pub fn identify(conversation_id: ConversationId, number: &str) -> Value {
    json!({"version": "1", "conversation_id": conversation_id, "number": number})
}

/// Invokes the function with a batch in which no record may fail.
pub async fn succeeds(function: &mut Function, messages: &[Value]) {
    let response = function.call(batch(messages)).await;
    assert!(failed(&response).is_empty(), "{response}: {:#?}", function.log().await);
}
