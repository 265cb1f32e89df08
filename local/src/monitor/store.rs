//! The stand-in's tenants, active fault and recorded calls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// A tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The tenant's numbers, in the exact spelling used for lookups.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// The language in the tenant's profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_preference: Option<String>,
}

/// A recorded update of a tenant's language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LanguageUpdate {
    /// The tenant.
    pub tenant_id: String,
    /// The language.
    pub language: String,
    /// The HTTP status of the response.
    pub status: u16,
}

/// The recorded calls, including those that failed because of a fault.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Calls {
    /// The number of lookups by spelling.
    pub lookups: BTreeMap<String, u64>,
    /// Updates of profiles, in order.
    pub profiles: Vec<LanguageUpdate>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<String, Tenant>,
    fault: Option<Fault>,
    calls: Calls,
}

/// The stand-in's state. The tenants are kept in a file.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    state: Mutex<State>,
}

impl Store {
    pub(super) fn open(file: PathBuf) -> Self {
        let saved = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { file, state: Mutex::new(State { tenants: saved.unwrap_or_default(), ..State::default() }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn save(&self, state: &State) {
        // If the write fails, the tenants are lost when the process ends. That is acceptable for manual tests.
        let _ = std::fs::write(&self.file, serde_json::to_vec_pretty(&state.tenants).unwrap_or_default());
    }

    pub(super) fn tenants(&self) -> BTreeMap<String, Tenant> {
        self.with(|state| state.tenants.clone())
    }

    pub(super) fn set_tenant(&self, id: String, tenant: Tenant) {
        self.with(|state| {
            state.tenants.insert(id, tenant);
            self.save(state);
        });
    }

    pub(super) fn remove_tenant(&self, id: &str) -> bool {
        self.with(|state| {
            let was_there = state.tenants.remove(id).is_some();
            self.save(state);
            was_there
        })
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.with(|state| state.fault)
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.with(|state| state.fault = fault);
    }

    pub(super) fn is_down(&self) -> bool {
        self.fault() == Some(Fault::Down)
    }

    pub(super) fn calls(&self) -> Calls {
        self.with(|state| state.calls.clone())
    }

    pub(super) fn clear_calls(&self) {
        self.with(|state| state.calls = Calls::default());
    }

    pub(super) fn record_lookup(&self, spelling: &str) {
        self.with(|state| *state.calls.lookups.entry(spelling.to_owned()).or_default() += 1);
    }

    /// Returns the tenants with this number in exactly this spelling.
    pub(super) fn find(&self, spelling: &str) -> Vec<(String, Tenant)> {
        self.with(|state| {
            let has = |tenant: &Tenant| tenant.numbers.iter().any(|number| number == spelling);
            let found = state.tenants.iter().filter(|(_, tenant)| has(tenant));
            found.map(|(id, tenant)| (id.clone(), tenant.clone())).collect()
        })
    }

    /// Sets a tenant's language. Returns false if the tenant does not exist.
    pub(super) fn set_language(&self, id: &str, language: &str) -> bool {
        self.with(|state| {
            let Some(tenant) = state.tenants.get_mut(id) else { return false };
            tenant.language_preference = Some(language.to_owned());
            self.save(state);
            true
        })
    }

    pub(super) fn record_update(&self, update: LanguageUpdate) {
        self.with(|state| state.calls.profiles.push(update));
    }
}
