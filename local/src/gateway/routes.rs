//! Route selection of an HTTP API: the most specific path wins, then the exact method before `ANY`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use percent_encoding::percent_decode_str;

use crate::template::{RouteSpec, Throttle};

/// A route with its throttling state.
#[derive(Debug)]
pub(super) struct Route {
    pub spec: RouteSpec,
    bucket: Option<Mutex<Bucket>>,
}

/// The route of a request, with its path parameters.
#[derive(Debug)]
pub(super) struct Matched {
    pub route: Arc<Route>,
    pub parameters: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Route {
    pub(super) fn new(spec: RouteSpec) -> Self {
        let bucket = spec
            .throttle
            .map(|throttle| Mutex::new(Bucket { tokens: throttle.burst, filled: Instant::now() }));
        Self { spec, bucket }
    }

    /// Returns the route key: `GET /health`, or `$default`.
    pub(super) fn key(&self) -> String {
        match self.spec.path.as_str() {
            "$default" => "$default".to_owned(),
            path => format!("{} {path}", self.spec.method),
        }
    }

    /// Takes a token. Returns false if the route is throttled.
    pub(super) fn admits(&self) -> bool {
        let (Some(bucket), Some(Throttle { rate, burst })) = (&self.bucket, self.spec.throttle) else {
            return true;
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        bucket.tokens = (bucket.tokens + rate * now.duration_since(bucket.filled).as_secs_f64()).min(burst);
        bucket.filled = now;
        let admits = bucket.tokens >= 1.0;
        bucket.tokens -= if admits { 1.0 } else { 0.0 };
        admits
    }
}

/// Finds the route for a request.
pub(super) fn find(routes: &[Arc<Route>], method: &str, path: &str) -> Option<Matched> {
    let candidates = routes.iter().filter_map(|route| {
        let (rank, parameters) = match route.spec.path.as_str() {
            "$default" => (vec![u8::MAX], BTreeMap::new()),
            pattern => matches(pattern, path)?,
        };
        let by_method = match route.spec.method.as_str() {
            exact if exact == method => 0,
            "ANY" => 1,
            _ => return None,
        };
        Some(((rank, by_method), Matched { route: route.clone(), parameters }))
    });
    candidates.min_by(|(left, _), (right, _)| left.cmp(right)).map(|(_, matched)| matched)
}

/// Matches a path against a pattern. Returns the rank and the decoded parameters.
///
/// Ranks order literal segments before `{one}` before `{rest+}`.
fn matches(pattern: &str, path: &str) -> Option<(Vec<u8>, BTreeMap<String, String>)> {
    let (mut rank, mut parameters) = (Vec::new(), BTreeMap::new());
    let mut segments = path.trim_start_matches('/').split('/');
    for expected in pattern.trim_start_matches('/').split('/') {
        let segment = segments.next()?;
        let Some(name) = expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else {
            if decoded(segment) != expected {
                return None;
            }
            rank.push(0);
            continue;
        };
        if let Some(name) = name.strip_suffix('+') {
            let rest: Vec<&str> = std::iter::once(segment).chain(segments.by_ref()).collect();
            rank.push(2);
            parameters.insert(name.to_owned(), decoded(&rest.join("/")));
            break;
        }
        if segment.is_empty() {
            return None;
        }
        rank.push(1);
        parameters.insert(name.to_owned(), decoded(segment));
    }
    segments.next().is_none().then_some((rank, parameters))
}

/// Decodes percent-encoding and replaces invalid UTF-8.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
