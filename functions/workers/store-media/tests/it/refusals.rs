//! Files that are not stored: at other places, too large, or of types that a browser could run.

use crate::twilio::Reply;
use crate::world::{JPEG, World, call, resource};

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_not_at_twilio_is_never_requested() {
    let world = World::start().await;
    let forged = world.storage.reply("/steal", &[Reply::File(JPEG.to_vec())]);
    let port = world.twilio.url.rsplit(':').next().unwrap().to_owned();
    let urls = [
        forged,
        format!("http://localhost:{port}{}", resource("ME1")),
        format!("http://user:password@127.0.0.1:{port}{}", resource("ME1")),
        "https://api.twilio.com.attacker.example/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "nonsense".to_owned(),
    ];
    let message = world.message(&urls).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, ["failed url_not_allowed"; 6].join(", "));
    assert!(world.storage.received().is_empty() && world.twilio.received().is_empty());
    assert_eq!(function.metric_of("media_failed", "url_not_allowed").await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_other_networks_and_loops_end_the_attempt() {
    let world = World::start().await;
    let targets = [
        "http://10.0.0.1/x",
        "https://192.168.1.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/x",
        "http://storage.example/x",
        "ftp://127.0.0.1/x",
        "http://user:password@127.0.0.1/x",
        "http://",
    ];
    let mut urls: Vec<String> = targets
        .iter()
        .enumerate()
        .map(|(n, target)| {
            world.twilio.reply(&resource(&format!("ME{n}")), &[Reply::Redirect((*target).to_owned())])
        })
        .collect();
    let to_itself = Reply::Redirect(format!("{}/loop", world.storage.url));
    world.storage.reply("/loop", std::slice::from_ref(&to_itself));
    urls.push(world.twilio.reply(&resource("loop"), &[to_itself]));
    let message = world.message(&urls).await;
    call(&mut world.function(&[]).await, &[message]).await;
    assert_eq!(world.files().await, ["failed redirect_not_allowed"; 9].join(", "));
    assert_eq!(world.storage.received().len(), 5, "the limit of redirects");
    assert!(world.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_declared_as_an_image_is_refused() {
    let world = World::start().await;
    let files: [&[u8]; 4] = [
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"MZ\x90\x00",
        b"",
    ];
    let urls = files
        .iter()
        .enumerate()
        .map(|(n, file)| world.file(&format!("ME{n}"), &[Reply::File(file.to_vec())]));
    let message = world.message(&urls.collect::<Vec<_>>()).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, ["failed unsupported_type"; 4].join(", "));
    let error = "select error from sms_media where position = 1";
    let expected = "unsupported_type: files of the type text/html are not stored";
    assert_eq!(world.database.scalar(error).await, expected);
    let objects = world.s3.storage().list("media/").await.unwrap().objects;
    assert!(objects.is_empty(), "{objects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_the_limit_is_cut_off_while_it_arrives() {
    let world = World::start().await;
    let endless = world.file("ME1", &[Reply::Endless(JPEG.to_vec())]);
    let declared = world.file("ME2", &[Reply::Declared(5_242_881)]);
    let message = world.message(&[endless, declared]).await;
    let mut function = world.function(&[]).await;
    call(&mut function, &[message]).await;
    assert_eq!(world.files().await, "failed too_large, failed too_large");
    // What exceeds the limit is in the buffers of the connection.
    let sent = world.storage.bytes_sent();
    assert!((5_242_880..20_000_000).contains(&sent), "{sent}");
    assert!(world.s3.storage().list("media/").await.unwrap().objects.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_exactly_the_limit_is_stored() {
    let world = World::start().await;
    let mut file = JPEG.to_vec();
    file.resize(5_242_880, 0);
    let url = world.file("ME1", &[Reply::File(file)]);
    let message = world.message(&[url]).await;
    call(&mut world.function(&[]).await, &[message]).await;
    assert_eq!(world.files().await, "stored");
    assert_eq!(world.database.scalar("select size from sms_media").await, "5242880");
}
