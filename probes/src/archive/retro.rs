//! Reads stored replies with another database: what would be said of them now?

use portreeve_model::{Endpoint, SafeText};
use serde::Serialize;

use super::Kept;
use crate::{
    database::Database,
    matcher::{Choice, choose},
};

/// Below this a reading is no identification.
const LEAST_SCORE: u8 = 60;

/// What a database makes of an endpoint's replies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Protocol name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<SafeText>,
    /// Product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<SafeText>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<SafeText>,
    /// Operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<SafeText>,
    /// Device type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<SafeText>,
    /// Database entry that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// An endpoint of which something else would be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub endpoint: Endpoint,
    /// With the database in use.
    pub before: Said,
    /// With the other one.
    pub after: Said,
}

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retro {
    /// Endpoints with stored replies.
    pub endpoints: usize,
    /// Of these, known after and not before.
    pub newly_identified: usize,
    /// Known before and not after.
    pub no_longer_identified: usize,
    /// Known by another name, product or version.
    pub identified_otherwise: usize,
    /// All changes, in the order of endpoints.
    pub changes: Vec<Change>,
}

impl Said {
    fn of(choice: Option<Choice>) -> Self {
        let Some(best) = choice.map(|choice| choice.best).filter(|best| best.score >= LEAST_SCORE) else {
            return Self::default();
        };
        let value = |field: &str| best.get(field).cloned();
        Self {
            product: value("product"),
            version: value("version"),
            os: value("os"),
            device: value("device"),
            service: Some(best.name),
            entry: Some(best.entry),
        }
    }

    /// Whether the same is said, by whichever entry.
    fn agrees(&self, other: &Self) -> bool {
        let facts = |said: &Self| Self { entry: None, ..said.clone() };
        facts(self) == facts(other)
    }
}

/// Compares two databases over stored replies.
pub fn retro(kept: &[Kept], before: &Database, after: &Database) -> Retro {
    let mut retro = Retro { endpoints: kept.len(), ..Retro::default() };
    for one in kept {
        let fields = one.replies.fields();
        let [before, after] =
            [before, after].map(|database| Said::of(choose(&database.index().find(&fields))));
        if before.agrees(&after) {
            continue;
        }
        match (&before.service, &after.service) {
            (None, _) => retro.newly_identified += 1,
            (_, None) => retro.no_longer_identified += 1,
            _ => retro.identified_otherwise += 1,
        }
        retro.changes.push(Change { endpoint: one.endpoint, before, after });
    }
    retro
}

fn as_text<S: serde::Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(endpoint)
}

#[cfg(test)]
mod tests {
    use portreeve_model::{Timestamp, Transport};

    use super::*;
    use crate::archive::Replies;

    fn kept(last: u8, reply: &str) -> Kept {
        let endpoint = Endpoint { address: [10, 99, 0, last].into(), port: 80, transport: Transport::Tcp };
        let replies = vec![("http-get".to_owned(), reply.to_owned())];
        Kept { endpoint, at: Timestamp(1), replies: Replies { replies, facts: Vec::new() } }
    }

    #[test]
    fn a_new_entry_shows_what_it_would_have_known() {
        let text = "schema = 1\nservice = 'http'\nfamily = 'web'\n[[match]]\nid = 'pump/http'\nfield = 'http.server'\n\
            regex = '^PumpControl/(?P<version>[0-9.]+)'\nscore = 85\n\
            set = { product = 'Pump Control', version = '{version}' }\n[[match.example]]\n\
            reply = 'HTTP/1.1 200 OK\\r\\nServer: PumpControl/3\\r\\n\\r\\n'\n\
            expect = { product = 'Pump Control', version = '3' }\nsource = 'our own device'\n";
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("pump.toml"), text).expect("written");
        let after = Database::builtin().with_files(&[folder.path().to_path_buf()]).expect("accepted");
        let stored = [
            kept(1, "HTTP/1.1 200 OK\\r\\nServer: PumpControl/3.1\\r\\n\\r\\n"),
            kept(2, "HTTP/1.1 200 OK\\r\\nServer: nginx/1.22.1\\r\\n\\r\\n"),
        ];
        let retro = retro(&stored, Database::builtin(), &after);
        assert_eq!((retro.endpoints, retro.changes.len()), (2, 1));
        let change = &retro.changes[0];
        assert_eq!(change.endpoint.to_string(), "10.99.0.1:80/tcp");
        // It names itself, which the general entry takes for a product.
        assert_eq!(change.before.product.as_ref().map(SafeText::as_str), Some("PumpControl"));
        assert_eq!(change.after.version.as_ref().map(SafeText::as_str), Some("3.1"));
        assert_eq!(change.after.entry.as_deref(), Some("pump/http"));
    }
}
