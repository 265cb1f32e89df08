//! Message templates and their versions. A change is a new version; old versions stay readable.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::TemplateId;
use crate::domain::language::Language;
use crate::domain::template::{TemplateText, Texts};
use jiff::Timestamp;
use std::error::Error;
use uuid::Uuid;

/// A version of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The template's id.
    pub id: TemplateId,
    /// The name in this version.
    pub name: String,
    /// The number of the version, starting at 1.
    pub version: i32,
    /// The texts.
    pub texts: Texts,
    /// When the template was created.
    pub created_at: Timestamp,
    /// When this version was written.
    pub updated_at: Timestamp,
}

/// A version to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// The template's id.
    pub id: TemplateId,
    /// The name.
    pub name: String,
    /// The texts.
    pub texts: Texts,
    /// The key that writes it.
    pub api_key_id: Uuid,
    /// The current time.
    pub created_at: Timestamp,
}

row! {
    struct Stored {
        id: TemplateId,
        name: String,
        version: i32,
        en: Option<String>,
        es: Option<String>,
        pt: Option<String>,
        fallback: Language,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

impl Stored {
    /// Parses the texts. They were parsed before they were stored, so an error means that the syntax has changed.
    fn template(self) -> Result<Template, DbError> {
        let texts =
            self.texts().map_err(|source| DbError::Decode { operation: "read a template", source })?;
        let Self { id, name, version, created_at, updated_at, .. } = self;
        Ok(Template { id, name, version, texts, created_at, updated_at })
    }

    fn texts(&self) -> Result<Texts, Box<dyn Error + Send + Sync>> {
        let text = |stored: &Option<String>| stored.as_deref().map(TemplateText::parse).transpose();
        Ok(Texts::new(text(&self.en)?, text(&self.es)?, text(&self.pt)?, Some(self.fallback))?)
    }
}

/// The columns of [`Stored`], of the template `t` and its version `v`.
macro_rules! columns {
    () => {
        "t.id, v.name, v.version, v.en, v.es, v.pt, v.fallback, t.created_at, v.created_at as updated_at"
    };
}

/// The steps of the statement:
/// - `t`: the template, unless another one has its name;
/// - `v`: its first version.
const CREATE: Statement<Stored> = Statement::new(
    "create a template",
    concat!(
        "
with t as (
    insert into sms_templates (id, name, version, created_at) values ($id, $name, 1, $now)
    on conflict (name) where deleted_at is null do nothing
    returning *
), v as (
    insert into sms_template_versions (template_id, version, name, en, es, pt, fallback, api_key_id, created_at)
    select t.id, t.version, t.name, $en, $es, $pt, $fallback, $api_key_id, $now from t
    returning *
)
select ",
        columns!(),
        " from t cross join v"
    ),
);

/// Stores a new template and returns it, or `None` if another one has its name.
///
/// # Errors
///
/// [`DbError`]: the template may be stored if the connection failed during the commit. A retry then returns `None`.
pub async fn create(db: &Db, new: &NewVersion) -> Result<Option<Template>, DbError> {
    let NewVersion { id, name, texts, api_key_id, created_at } = new;
    let text = |language| texts.get(language).map(TemplateText::as_str);
    let params = params! {
        id, name, en: text(Language::En), es: text(Language::Es), pt: text(Language::Pt),
        fallback: texts.fallback(), api_key_id, now: created_at,
    };
    let rows = db.query_confirmed(&CREATE, &params).await?;
    rows.into_iter().next().map(Stored::template).transpose()
}

const FIND: Statement<Stored> = Statement::new(
    "find a template",
    concat!(
        "select ",
        columns!(),
        "
from sms_templates t
join sms_template_versions v on v.template_id = t.id and v.version = coalesce($version, t.version)
where t.id = $id and t.deleted_at is null"
    ),
);

/// Finds a version of a template, or the current one. A deleted template has none.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find(db: &Db, id: TemplateId, version: Option<i32>) -> Result<Option<Template>, DbError> {
    let rows = db.query_idempotent(&FIND, &params! { id, version }).await?;
    rows.into_iter().next().map(Stored::template).transpose()
}

const LIST: Statement<Stored> = Statement::new(
    "list templates",
    concat!(
        "select ",
        columns!(),
        "
from sms_templates t
join sms_template_versions v on v.template_id = t.id and v.version = t.version
where t.deleted_at is null and ($before::uuid is null or t.id < $before)
order by t.id desc limit $limit"
    ),
);

/// Lists the current versions of all templates, the newest template first, after the one with the id `before`.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn list(db: &Db, before: Option<TemplateId>, limit: i64) -> Result<Vec<Template>, DbError> {
    let rows = db.query_idempotent(&LIST, &params! { before, limit }).await?;
    rows.into_iter().map(Stored::template).collect()
}

row! {
    struct Current {
        current_version: i32,
    }
}

/// The steps of the statement:
/// - `given`: the template. The lock makes concurrent changes wait, so that each sees the version of the one before;
/// - `t`: the changed template, if its version is the expected one and no other template has the name;
/// - `v`: its new version.
const REPLACE: Statement<(Current, Option<Stored>)> = Statement::new(
    "replace a template",
    concat!(
        "
with given as (
    select t.id, t.version from sms_templates t where t.id = $id and t.deleted_at is null for update
), t as (
    update sms_templates t set name = $name, version = g.version + 1
    from given g
    where t.id = g.id and g.version = coalesce($expected, g.version)
      and not exists (select from sms_templates o where o.name = $name and o.deleted_at is null and o.id <> $id)
    returning t.*
), v as (
    insert into sms_template_versions (template_id, version, name, en, es, pt, fallback, api_key_id, created_at)
    select t.id, t.version, t.name, $en, $es, $pt, $fallback, $api_key_id, $now from t
    returning *
)
select g.version as current_version, ",
        columns!(),
        " from given g left join (t cross join v) on true"
    ),
);

/// The result of a request to replace the name and the texts of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// The new version.
    Done(Template),
    /// The template does not exist, or was deleted.
    NotFound,
    /// The current version is not the expected one.
    OtherVersion {
        /// The current version.
        current: i32,
    },
    /// Another template has the name.
    NameTaken,
}

/// Stores a new version of a template, if the current version is the expected one or none is expected.
///
/// # Errors
///
/// [`DbError`]: the version may be stored if the connection failed during the commit. A retry then returns
/// [`Replaced::OtherVersion`], or stores the same texts again if no version is expected.
pub async fn replace(db: &Db, new: &NewVersion, expected: Option<i32>) -> Result<Replaced, DbError> {
    let NewVersion { id, name, texts, api_key_id, created_at } = new;
    let text = |language| texts.get(language).map(TemplateText::as_str);
    let params = params! {
        id, expected, name, en: text(Language::En), es: text(Language::Es), pt: text(Language::Pt),
        fallback: texts.fallback(), api_key_id, now: created_at,
    };
    let rows = match db.query_confirmed(&REPLACE, &params).await {
        // Another template got the name at the same time: the index is the only constraint that valid data can violate.
        Err(error) if error.is_about_the_data() => return Ok(Replaced::NameTaken),
        outcome => outcome?,
    };
    Ok(match rows.into_iter().next() {
        None => Replaced::NotFound,
        Some((_, Some(stored))) => Replaced::Done(stored.template()?),
        Some((Current { current_version }, None)) if expected.is_some_and(|it| it != current_version) => {
            Replaced::OtherVersion { current: current_version }
        }
        Some((_, None)) => Replaced::NameTaken,
    })
}

row! {
    struct Deleted {
        is_deleted: bool,
    }
}

const DELETE: Statement<Deleted> = Statement::new(
    "delete a template",
    "
update sms_templates set deleted_at = $now where id = $id and deleted_at is null
returning true as is_deleted",
);

/// Deletes a template. Returns whether it existed.
///
/// # Errors
///
/// [`DbError`]: the template may be deleted if the connection failed during the commit. A retry then returns `false`.
pub async fn delete(db: &Db, id: TemplateId, now: Timestamp) -> Result<bool, DbError> {
    Ok(db.query_confirmed(&DELETE, &params! { id, now }).await?.iter().any(|row| row.is_deleted))
}

statements!(CREATE, DELETE, FIND, LIST, REPLACE);
