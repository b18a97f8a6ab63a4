//! The table that the load is on: something of every kind of value, and the row of it that a writer expects.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{MySql, Row as _};

/// The name that the application uses.
pub const TABLE: &str = "orders";

/// The definition before the change.
pub fn create_table() -> &'static str {
    "CREATE TABLE orders (
         order_id    BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
         reference   CHAR(18)        NOT NULL,
         customer    VARCHAR(80)     NOT NULL,
         email       VARCHAR(120)    NULL,
         state       ENUM('new', 'paid', 'packed', 'sent', 'returned') NOT NULL DEFAULT 'new',
         quantity    INT             NOT NULL,
         amount      DECIMAL(12, 2)  NOT NULL,
         discount    DECIMAL(5, 4)   NULL,
         weight      DOUBLE          NULL,
         details     JSON            NULL,
         note        TEXT            NULL,
         fingerprint BINARY(16)      NULL,
         placed_at   DATETIME(6)     NOT NULL,
         changed_at  TIMESTAMP(3)    NULL,
         PRIMARY KEY (order_id),
         UNIQUE KEY orders_reference (reference),
         KEY orders_by_customer (customer)
     ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_0900_ai_ci"
}

/// All columns of [`Order`], as [`Order::read`] wants them: exact, whatever type the change gives them.
pub(super) const READ: &str = "o.order_id, o.reference, o.customer, o.email, CAST(o.state AS CHAR) AS state,
     CAST(o.quantity AS SIGNED) AS quantity, CAST(o.amount AS CHAR) AS amount, CAST(o.discount AS CHAR) AS discount,
     o.weight, CAST(o.details AS CHAR) AS details, o.note, o.fingerprint, CAST(o.placed_at AS CHAR) AS placed_at,
     CAST(o.changed_at AS CHAR) AS changed_at";

pub(super) const INSERT: &str =
    "INSERT INTO orders (order_id, reference, customer, email, state, quantity, amount,
     discount, weight, details, note, fingerprint, placed_at, changed_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A floating-point number that equals another only in every bit.
#[derive(Debug, Clone, Copy)]
pub struct Exact(pub f64);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// One row, without its key. Decimals, times and JSON are the server's own text of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub reference: String,
    pub customer: String,
    pub email: Option<String>,
    pub state: String,
    pub quantity: i64,
    pub amount: String,
    pub discount: Option<String>,
    pub weight: Option<Exact>,
    pub details: Option<String>,
    pub note: Option<String>,
    pub fingerprint: Option<Vec<u8>>,
    pub placed_at: String,
    pub changed_at: Option<String>,
}

const STATES: [&str; 5] = ["new", "paid", "packed", "sent", "returned"];
const CUSTOMERS: [&str; 8] = [
    "Åsa Öberg",
    "Seán O'Brien",
    "李雷",
    "Zoë \\ Söhne",
    "naïve 🦀 GmbH",
    "\"Quoted\" Ltd",
    "Ελένη",
    "Smith\tand  Daughters",
];
const NOTES: [&str; 6] = [
    "",
    "leave at the door",
    "fragile; trailing blank ",
    "Straße 7, 3. Stock",
    "line one\nline two",
    "100 % _like_ this\\",
];

impl Order {
    pub(super) fn read(row: &MySqlRow) -> Result<(u64, Self), sqlx::Error> {
        let order = Self {
            reference: row.try_get("reference")?,
            customer: row.try_get("customer")?,
            email: row.try_get("email")?,
            state: row.try_get("state")?,
            quantity: row.try_get("quantity")?,
            amount: row.try_get("amount")?,
            discount: row.try_get("discount")?,
            weight: row.try_get::<Option<f64>, _>("weight")?.map(Exact),
            details: row.try_get("details")?,
            note: row.try_get("note")?,
            fingerprint: row.try_get("fingerprint")?,
            placed_at: row.try_get("placed_at")?,
            changed_at: row.try_get("changed_at")?,
        };
        Ok((row.try_get("order_id")?, order))
    }

    /// The values of [`INSERT`].
    pub(super) fn bind<'q>(
        &'q self,
        query: Query<'q, MySql, MySqlArguments>,
        key: u64,
    ) -> Query<'q, MySql, MySqlArguments> {
        query
            .bind(key)
            .bind(&self.reference)
            .bind(&self.customer)
            .bind(&self.email)
            .bind(&self.state)
            .bind(self.quantity)
            .bind(&self.amount)
            .bind(&self.discount)
            .bind(self.weight.map(|weight| weight.0))
            .bind(&self.details)
            .bind(&self.note)
            .bind(&self.fingerprint)
            .bind(&self.placed_at)
            .bind(&self.changed_at)
    }

    /// The columns that are not alike, with both values, cut to what people read.
    pub(super) fn differences(&self, found: &Self) -> String {
        let values = |order: &Self| {
            [
                ("reference", format!("{:?}", order.reference)),
                ("customer", format!("{:?}", order.customer)),
                ("email", format!("{:?}", order.email)),
                ("state", format!("{:?}", order.state)),
                ("quantity", format!("{:?}", order.quantity)),
                ("amount", format!("{:?}", order.amount)),
                ("discount", format!("{:?}", order.discount)),
                (
                    "weight",
                    format!("{:?}", order.weight.map(|weight| weight.0)),
                ),
                ("details", format!("{:?}", order.details)),
                ("note", format!("{:?}", order.note)),
                (
                    "fingerprint",
                    format!("{:?}", order.fingerprint.as_ref().map(hex::encode)),
                ),
                ("placed_at", format!("{:?}", order.placed_at)),
                ("changed_at", format!("{:?}", order.changed_at)),
            ]
        };
        let short = |text: &str| text.chars().take(80).collect::<String>();
        let pairs = values(self).into_iter().zip(values(found));
        let differing = pairs.filter(|((_, expected), (_, found))| expected != found);
        let lines: Vec<String> = differing
            .map(|((name, expected), (_, found))| {
                format!("{name} {}, not {}", short(&found), short(&expected))
            })
            .collect();
        lines.join(", ")
    }

    pub(super) fn random(rng: &mut StdRng) -> Self {
        let customer = pick(rng, &CUSTOMERS);
        let number: u16 = rng.random();
        Self {
            reference: random_reference(rng),
            customer: format!("{customer} {number}"),
            email: rng
                .random_bool(0.7)
                .then(|| format!("buyer{number}@example.org")),
            state: random_state(rng),
            quantity: rng.random_range(-20_000_000..2_000_000),
            amount: random_amount(rng),
            discount: rng
                .random_bool(0.4)
                .then(|| format!("0.{:04}", rng.random_range(0..10_000))),
            weight: rng.random_bool(0.8).then(|| random_weight(rng)),
            details: rng.random_bool(0.8).then(|| random_details(rng)),
            note: random_note(rng),
            fingerprint: rng.random_bool(0.6).then(|| random_fingerprint(rng)),
            placed_at: format!(
                "20{:02}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
                rng.random_range(0..99),
                rng.random_range(1..=12),
                rng.random_range(1..=28),
                rng.random_range(0..24),
                rng.random_range(0..60),
                rng.random_range(0..60),
                rng.random_range(0..1_000_000)
            ),
            changed_at: rng.random_bool(0.5).then(|| random_moment(rng)),
        }
    }
}

fn pick(rng: &mut StdRng, texts: &[&'static str]) -> &'static str {
    texts.choose(rng).copied().unwrap_or_default()
}

/// No two rows share one: it is 64 random bits.
pub(super) fn random_reference(rng: &mut StdRng) -> String {
    format!("R-{:016x}", rng.random::<u64>())
}

pub(super) fn random_state(rng: &mut StdRng) -> String {
    pick(rng, &STATES).to_owned()
}

pub(super) fn random_amount(rng: &mut StdRng) -> String {
    format!(
        "{}.{:02}",
        rng.random_range(0..10_000_000),
        rng.random_range(0..100)
    )
}

pub(super) fn random_weight(rng: &mut StdRng) -> Exact {
    Exact(rng.random_range(0.0..100.0))
}

pub(super) fn random_note(rng: &mut StdRng) -> Option<String> {
    let text = pick(rng, &NOTES);
    match rng.random_range(0..10) {
        0..3 => None,
        3..9 => Some(text.to_owned()),
        // Past what fits into a page.
        _ => Some(text.repeat(rng.random_range(1..600))),
    }
}

/// As the server writes JSON: keys by length, then by bytes; one blank after each colon and comma.
pub(super) fn random_details(rng: &mut StdRng) -> String {
    let n: u32 = rng.random_range(0..1000);
    // 1 and 1.0 are different values.
    let n = if rng.random_bool(0.5) {
        n.to_string()
    } else {
        format!("{n}.0")
    };
    let gift = rng.random_bool(0.3);
    let price = f64::from(rng.random_range(1..100_000_u32)) / 8.0 + 0.0625;
    let tag = pick(rng, &["é", "a\\\"b", "", "𝄞"]);
    format!(
        r#"{{"n": {n}, "gift": {gift}, "tags": ["{tag}", null, [1, 2.5]], "parts": {{}}, "price": {price}}}"#
    )
}

pub(super) fn random_fingerprint(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = rng.random::<[u8; 16]>();
    // Trailing zeros are easily lost.
    if rng.random_bool(0.3) {
        bytes[14..].fill(0);
    }
    bytes.to_vec()
}

pub(super) fn random_moment(rng: &mut StdRng) -> String {
    format!(
        "2026-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        rng.random_range(1..=12),
        rng.random_range(1..=28),
        rng.random_range(0..24),
        rng.random_range(0..60),
        rng.random_range(0..60),
        rng.random_range(0..1000)
    )
}
