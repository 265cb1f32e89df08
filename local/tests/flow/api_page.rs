//! `GET /docs` in a real browser. Skipped if Chromium is not installed.

use super::stack::{eventually, shared};
use tokio::process::Command;

/// Returns the page's DOM after its scripts have run, as Chromium shows it in a window of this size.
async fn rendered(chromium: &str, url: &str, size: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // Chromium prints the DOM when the page has been idle for this much of its own time.
        .args(["--virtual-time-budget=20000", &format!("--window-size={size}")])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Removes the tags, because syntax highlighting puts them between words.
fn without_tags(dom: &str) -> String {
    dom.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_page_shows_operations_and_curl_snippets_at_phone_and_desktop_width() {
    let test = "the_api_page_shows_operations_and_curl_snippets_at_phone_and_desktop_width";
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let installed = |name: &&str| std::process::Command::new(name).arg("--version").output().is_ok();
    let Some(chromium) = browsers.into_iter().find(installed) else {
        testing::skipped(test, "Chromium is not installed");
        return;
    };
    let stack = shared().await;
    let url = format!("{}/docs", stack.info.api_url);
    for size in ["390,844", "1280,900"] {
        // A busy machine can end the budget before the page is complete.
        eventually("the page is complete", async || {
            let page = without_tags(&rendered(chromium, &url, size).await);
            let texts = ["SMS Foundation", "Send a message", "curl http", "/sms/send"];
            texts.into_iter().all(|text| page.contains(text)).then_some(())
        })
        .await;
    }
}
