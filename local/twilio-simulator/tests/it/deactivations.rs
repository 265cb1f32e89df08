//! The lists of deactivated numbers.

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, TOKEN, World, config};

const CLOSED_PORT: &str = "http://127.0.0.1:1/";

/// Asks for the list of a day with these credentials. Does not follow redirects.
async fn fetch(client: &Client, world: &World, date: &str, token: &str) -> Response {
    let url = format!("{}/v1/Deactivations?Date={date}", world.simulator.url());
    client.get(url).basic_auth(ACCOUNT, Some(token)).send().await.unwrap()
}

#[tokio::test]
async fn a_list_is_a_redirect_to_a_file_that_accepts_no_other_credentials_than_its_url() {
    let world = World::start(config(CLOSED_PORT)).await;
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let list = json!({ "date": "2026-11-01", "numbers": ["+12035551234", "+12035551235"] });
    assert_eq!(world.post_json("/simulator/deactivations", list).await.0, 204);

    let redirect = fetch(&client, &world, "2026-11-01", TOKEN).await;
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(redirect.json::<Value>().await.unwrap(), json!({ "redirect_to": location }));
    let file = client.get(&location).send().await.unwrap();
    assert_eq!(file.text().await.unwrap(), "+12035551234\n+12035551235\n");

    let twice = client.get(&location).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap();
    assert_eq!(twice.status(), StatusCode::BAD_REQUEST);
    let unsigned = client.get(location.split('?').next().unwrap()).send().await.unwrap();
    assert_eq!(unsigned.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_day_without_a_list_an_invalid_date_and_wrong_credentials_are_errors() {
    let world = World::start(config(CLOSED_PORT)).await;
    for (date, token, status, code) in [
        ("2026-11-01", TOKEN, 404, 20404),
        ("yesterday", TOKEN, 400, 20001),
        ("", TOKEN, 400, 20001),
        ("2026-11-01", "wrong", 401, 20003),
    ] {
        let response = fetch(&world.client, &world, date, token).await;
        assert_eq!(response.status(), status, "{date}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code, "{date}");
    }
    let refused = json!({ "date": "2026-13-01", "numbers": [] });
    assert_eq!(world.post_json("/simulator/deactivations", refused).await.0, 422);
}
