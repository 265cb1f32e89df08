//! What the stand-in knows, and what it was asked and told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// A tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Their numbers, spelt as they are looked up by.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// The language of their profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_preference: Option<String>,
}

/// What a profile was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Whose.
    pub tenant_id: String,
    /// The language.
    pub language: String,
    /// What was answered.
    pub status: u16,
}

/// The calls so far, those that a fault answered among them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Calls {
    /// Lookups by spelling.
    pub lookups: BTreeMap<String, u64>,
    /// Profiles that were told something, in order.
    pub profiles: Vec<Told>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<String, Tenant>,
    fault: Option<Fault>,
    calls: Calls,
}

/// All of it. The tenants outlive the process in a file.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    state: Mutex<State>,
}

impl Store {
    pub(super) fn open(file: PathBuf) -> Self {
        let kept = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { file, state: Mutex::new(State { tenants: kept.unwrap_or_default(), ..State::default() }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, state: &State) {
        // Without it the tenants end with the process, which whoever tries things by hand will survive.
        let _ = std::fs::write(&self.file, serde_json::to_vec_pretty(&state.tenants).unwrap_or_default());
    }

    pub(super) fn tenants(&self) -> BTreeMap<String, Tenant> {
        self.with(|state| state.tenants.clone())
    }

    pub(super) fn set_tenant(&self, id: String, tenant: Tenant) {
        self.with(|state| {
            state.tenants.insert(id, tenant);
            self.keep(state);
        });
    }

    pub(super) fn remove_tenant(&self, id: &str) -> bool {
        self.with(|state| {
            let was_there = state.tenants.remove(id).is_some();
            self.keep(state);
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

    pub(super) fn forget_calls(&self) {
        self.with(|state| state.calls = Calls::default());
    }

    pub(super) fn asked_for(&self, spelling: &str) {
        self.with(|state| *state.calls.lookups.entry(spelling.to_owned()).or_default() += 1);
    }

    /// The tenants who have this spelling.
    pub(super) fn find(&self, spelling: &str) -> Vec<(String, Tenant)> {
        self.with(|state| {
            let has = |tenant: &Tenant| tenant.numbers.iter().any(|number| number == spelling);
            let found = state.tenants.iter().filter(|(_, tenant)| has(tenant));
            found.map(|(id, tenant)| (id.clone(), tenant.clone())).collect()
        })
    }

    /// Sets a tenant's language, if there is such a tenant.
    pub(super) fn set_language(&self, id: &str, language: &str) -> bool {
        self.with(|state| {
            let Some(tenant) = state.tenants.get_mut(id) else { return false };
            tenant.language_preference = Some(language.to_owned());
            self.keep(state);
            true
        })
    }

    pub(super) fn told(&self, told: Told) {
        self.with(|state| state.calls.profiles.push(told));
    }
}
