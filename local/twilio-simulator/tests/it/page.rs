//! The phone page in a real browser. Skipped if Chromium is not installed.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::support::{DEADLINE, HANDSET, WebhookServer, World, config};

/// A green square.
const SVG: &str =
    "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'><rect width='40' height='40'/></svg>";

/// Serves the driver and, on the same origin so that it can use the page, the simulator.
struct Front {
    world: World,
    results: mpsc::UnboundedSender<Value>,
}

#[derive(Deserialize)]
struct Outbound {
    media: String,
}

async fn create(State(front): State<Arc<Front>>, Query(outbound): Query<Outbound>) -> Response {
    let phone = [("To", "+12025550123"), ("Body", "A plumber comes"), ("MediaUrl", &outbound.media)];
    front.world.create(&phone).await.unwrap().status().into_response()
}

async fn result(State(front): State<Arc<Front>>, body: String) {
    front.results.send(serde_json::from_str(&body).unwrap()).unwrap();
}

/// Forwards a request to the simulator. The page's policy stays in force, except that the driver may frame it.
async fn forward(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let url = format!("{}{}", front.world.simulator.url(), parts.uri);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut forwarded = front.world.client.request(parts.method, url).body(body);
    if let Some(content_type) = parts.headers.get(CONTENT_TYPE) {
        forwarded = forwarded.header(CONTENT_TYPE, content_type);
    }
    let response = forwarded.send().await.unwrap();
    let mut builder = Response::builder().status(response.status());
    for (name, value) in response.headers() {
        let value = value.to_str().unwrap();
        builder = match *name == CONTENT_SECURITY_POLICY {
            true => builder.header(name, value.replace("frame-ancestors 'none'", "frame-ancestors 'self'")),
            false => builder.header(name, value),
        };
    }
    let chunks = futures::stream::unfold(response, |mut response| async move {
        let chunk = response.chunk().await.transpose()?;
        Some((chunk, response))
    });
    builder.body(Body::from_stream(chunks)).unwrap()
}

fn installed() -> Option<&'static str> {
    let runs = |name: &&str| std::process::Command::new(name).arg("--version").output().is_ok();
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(runs)
}

#[tokio::test]
async fn the_page_attaches_and_shows_images_at_phone_and_desktop_width() {
    let Some(chromium) = installed() else {
        // Not `eprintln!`: the test harness captures it.
        let _ = writeln!(std::io::stderr(), "\nSKIPPED the phone page: Chromium is not installed");
        return;
    };
    for width in [375, 1280] {
        let webhook = WebhookServer::responding(|hit, _| match hit.path.as_str() {
            "/plumber.svg" => ([("content-type", "image/svg+xml")], SVG).into_response(),
            _ => ().into_response(),
        })
        .await;
        let outbound = format!("{}/plumber.svg", webhook.url);
        let (results, mut received) = mpsc::unbounded_channel();
        let front = Arc::new(Front { world: World::start(config(&webhook.url)).await, results });
        let router = Router::new()
            .route("/drive", get(async || Html(include_str!("page_driver.html"))))
            .route("/create", post(create))
            .route("/result", post(result))
            .fallback(forward)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&front));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });

        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1300,900"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // Without this port the browser ends when the page is loaded.
            .args(["--no-proxy-server", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{address}/drive?width={width}&outbound={outbound}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let found = tokio::time::timeout(DEADLINE, received.recv()).await.expect("a result").unwrap();
        browser.kill().await.unwrap();
        let expected = json!({
            "width": width,
            "label": "Attach images",
            "too_large": "large.png is larger than 5 MB.",
            "too_many": "A message has at most 10 files.",
            "problem_is_hidden": true,
            "fits_with_ten_previews": true,
            "remove": "Remove roof.png",
            "previews": ["kitchen.png", "wall.png"],
            "focus_after_remove": "Remove wall.png",
            "previews_after_send": 0,
            "created": 201,
            "outbound": outbound,
            "alt": "File 2: image/png",
            "fits": true,
        });
        assert_eq!(found, expected);
        let hits = webhook.hits();
        let inbound = hits.iter().find(|hit| hit.get("NumMedia") == "2").unwrap();
        assert_eq!(inbound.get("Body"), "The kitchen is under water");
        assert_eq!(inbound.get("MediaContentType1"), "image/png");
        assert_ne!(inbound.get("From"), HANDSET, "the page's own phone");
    }
}
