//! Compares the document with the routes of `template.yaml`.

use super::{document, operations};
use saphyr::{LoadableYamlNode, YamlOwned};
use std::collections::BTreeMap;

const TEMPLATE: &str = include_str!("../../../../../template.yaml");

/// The access to a route.
#[derive(Debug, PartialEq, Eq)]
enum Caller {
    Anybody,
    KeyHolder,
    Twilio,
}

/// A node without its CloudFormation tag, such as `!Sub`.
fn plain(node: &YamlOwned) -> &YamlOwned {
    match node {
        YamlOwned::Tagged(_, inner) => inner,
        other => other,
    }
}

fn at<'a>(node: &'a YamlOwned, path: &[&str]) -> Option<&'a YamlOwned> {
    path.iter().try_fold(node, |node, key| plain(node).as_mapping_get(key))
}

fn text<'a>(node: &'a YamlOwned, path: &[&str]) -> Option<&'a str> {
    plain(at(node, path)?).as_str()
}

fn entries(node: Option<&YamlOwned>) -> impl Iterator<Item = (&str, &YamlOwned)> {
    let mapping = node.and_then(|node| plain(node).as_mapping()).into_iter().flatten();
    mapping.filter_map(|(key, value)| Some((key.as_str()?, value)))
}

/// The gateway's routes, and the paths of the function URLs in the outputs.
fn declared() -> BTreeMap<String, Caller> {
    let documents = YamlOwned::load_from_str(TEMPLATE).unwrap();
    let template = &documents[0];
    let mut routes = BTreeMap::new();
    for (_, resource) in entries(at(template, &["Resources"])) {
        for (_, event) in entries(at(resource, &["Properties", "Events"])) {
            if text(event, &["Type"]) != Some("HttpApi") {
                continue;
            }
            let method = text(event, &["Properties", "Method"]).unwrap();
            // GET implies HEAD. Only the gateway needs a route for it.
            if method == "HEAD" {
                continue;
            }
            let path = text(event, &["Properties", "Path"]).unwrap();
            // Requests without a route.
            if path == "$default" {
                continue;
            }
            let is_open = text(event, &["Properties", "Auth", "Authorizer"]) == Some("NONE");
            let caller = if is_open { Caller::Anybody } else { Caller::KeyHolder };
            routes.insert(format!("{} {path}", method.to_uppercase()), caller);
        }
    }
    for (_, output) in entries(at(template, &["Outputs"])) {
        let url = text(output, &["Value"]).and_then(|url| url.split_once(".FunctionUrl}"));
        // The fragment is for Twilio's console; base URLs have no path.
        let path = url.and_then(|(_, path)| path.split('#').next());
        match path {
            Some(path) if path.starts_with("webhook/") => {
                routes.insert(format!("POST /{path}"), Caller::Twilio);
            }
            Some(path) if !path.is_empty() => {
                routes.insert(format!("GET /{path}"), Caller::KeyHolder);
            }
            _ => {}
        }
    }
    routes
}

#[test]
fn every_public_get_route_has_a_public_head_route() {
    let documents = YamlOwned::load_from_str(TEMPLATE).unwrap();
    let (mut get, mut head) = (Vec::new(), Vec::new());
    for (_, resource) in entries(at(&documents[0], &["Resources"])) {
        for (_, event) in entries(at(resource, &["Properties", "Events"])) {
            let property = |name: &str| text(event, &["Properties", name]);
            let is_open = text(event, &["Properties", "Auth", "Authorizer"]) == Some("NONE");
            match property("Method") {
                Some("GET") if is_open => get.extend(property("Path")),
                Some("HEAD") if is_open => head.extend(property("Path")),
                _ => {}
            }
        }
    }
    assert_eq!((get.len(), &get), (4, &head));
}

#[tokio::test]
async fn the_document_describes_exactly_the_routes_of_the_template() {
    let document = document().await;
    let described: BTreeMap<String, Caller> = operations(&document)
        .map(|(method, path, operation)| {
            let requirement = operation["security"][0].as_object().unwrap();
            let caller = match requirement.keys().next().map(String::as_str) {
                None => Caller::Anybody,
                Some("api_key") => Caller::KeyHolder,
                Some("twilio_signature") => Caller::Twilio,
                Some(other) => panic!("{method} {path}: {other}"),
            };
            (format!("{method} {path}"), caller)
        })
        .collect();
    assert!(described.len() >= 8, "{described:?}");
    assert_eq!(described, declared());
}
