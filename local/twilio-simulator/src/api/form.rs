//! URL-encoded forms and the phone numbers in them.

/// A decoded form with its parameters in order.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Returns the value of `key`. An empty value counts as absent, as with Twilio.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.present(key).filter(|value| !value.is_empty())
    }

    /// Returns the value of `key`, even if it is empty.
    pub(crate) fn present(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

/// Normalizes the notations that Twilio accepts to E.164. Returns `None` if `to` is not a phone number.
pub(crate) fn recipient(to: &str) -> Option<String> {
    let plain: String = to.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
    let digits = plain.strip_prefix('+').unwrap_or(&plain);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = match (plain.starts_with('+'), digits.len()) {
        (false, 10) => format!("1{digits}"),
        (true, _) | (false, 11) => digits.to_owned(),
        _ => return None,
    };
    let plausible = match full.strip_prefix('1') {
        Some(national) => national.len() == 10 && !national.starts_with(['0', '1']),
        None => (8..=15).contains(&full.len()) && !full.starts_with('0'),
    };
    plausible.then(|| format!("+{full}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_normalized_to_e164() {
        let table = [
            ("+12035551234", Some("+12035551234")),
            ("(203) 555-1234", Some("+12035551234")),
            ("1 203.555.1234", Some("+12035551234")),
            ("+5511987654321", Some("+5511987654321")),
            ("+1203555123", None),
            ("+11035551234", None),
            ("12345", None),
            ("+123", None),
            ("LANDLORD", None),
            ("+", None),
        ];
        for (input, expected) in table {
            assert_eq!(recipient(input).as_deref(), expected, "{input}");
        }
    }

    #[test]
    fn forms_are_decoded_with_escapes_and_repeated_keys() {
        let form = Form::parse("To=%2B1203&Body=a+b%20%C3%A9&MediaUrl=x&MediaUrl=y&From=".as_bytes());
        assert_eq!(form.get("To"), Some("+1203"));
        assert_eq!(form.get("Body"), Some("a b é"));
        assert_eq!((form.get("From"), form.present("From")), (None, Some("")));
        assert_eq!(form.all("MediaUrl").collect::<Vec<_>>(), ["x", "y"]);
    }
}
