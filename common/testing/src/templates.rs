//! Message templates.

use super::KEY_ID;
use common::clock;
use common::db::templates::NewVersion;
use common::domain::template::Texts;

/// Returns a template of [`KEY_ID`] with an English and a Spanish text.
#[must_use]
pub fn new_template(name: &str) -> NewVersion {
    let (en, es) = ("Hi {{name}}, {{amount}} is due.", "Hola {{name}}, debe {{amount}}.");
    let texts = Texts::new(Some(en.parse().unwrap()), Some(es.parse().unwrap()), None, None);
    NewVersion {
        id: clock::new_id().into(),
        name: name.to_owned(),
        texts: texts.unwrap(),
        api_key_id: KEY_ID.parse().unwrap(),
        created_at: clock::now(),
    }
}
