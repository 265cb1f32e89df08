//! Tests of the binary through the Runtime API.

use common::db::templates;
use std::time::Duration;
use testing::{ApiRequest, Database, Function, check_outage, environment, new_template, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_delete-template");
const UNKNOWN: &str = "01900000-0000-7000-8000-00000000000c";

fn delete(id: &str) -> ApiRequest {
    let request = ApiRequest::new("DELETE", &format!("/templates/{id}")).path_parameter("id", id);
    request.scopes("messages:send")
}

#[tokio::test]
async fn a_deleted_template_is_not_found_any_more() {
    let database = Database::create().await;
    let (template, other) = (new_template("Rent"), new_template("Water"));
    for new in [&template, &other] {
        templates::create(&database.db(), new).await.unwrap().unwrap();
    }
    let mut function = Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await;
    let id = template.id.to_string();
    for (request, response) in [
        (delete(UNKNOWN), "404 sms.not_found"),
        (delete(&id).scopes("messages:read"), "403 sms.forbidden"),
        (delete("x"), "400 sms.validation_error\n  id: is not a UUID"),
    ] {
        assert_eq!(refusal(&function.call(request.event()).await), response);
    }
    assert!(templates::find(&database.db(), template.id, None).await.unwrap().is_some());
    let reply = function.call(delete(&id).event()).await;
    assert_eq!((reply["statusCode"].as_u64(), reply["body"].as_str()), (Some(204), Some("")));
    for version in [None, Some(1)] {
        assert_eq!(templates::find(&database.db(), template.id, version).await.unwrap(), None);
    }
    assert!(templates::find(&database.db(), other.id, None).await.unwrap().is_some());
    assert_eq!(refusal(&function.call(delete(&id).event()).await), "404 sms.not_found");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &delete(UNKNOWN)).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<delete_template::Config>("delete-template", Duration::ZERO, environment::API);
}
