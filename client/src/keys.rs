//! One's own sealing keys, the statements that publish them, and the certificate by which one signs.
//!
//! A private key is a file of 32 bytes that its owner alone may read, beside the statement that states its public half;
//! it is written before the statement leaves and deleted when the statement's `open_until` is over, since deletion is
//! the only forward secrecy that HPKE's base mode has. In come what one wants stated and for how long; out go
//! statements, submitted like any item, and for each delivery the one key that it names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::address::Address;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{Item, ItemType, Payload};
use seinpost_protocol::key_statement::{KeyStatement, OPEN_AFTER_MAX, SEAL_AHEAD_MAX, State};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::signal::SUITE;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::connect::{Connection, request};
use crate::error::{Error, Result};
use crate::files::{self, Mode};
use crate::link::{audience_all, expect};
use crate::outbox::Waiting;
use crate::seal::{PrivateKey, SEED_BYTES};
use crate::send::Submitted;

/// A key statement is below 4 KiB.
const STATEMENT_BYTES_MAX: usize = 32 * 1024;
/// Statements of one address that are walked at most: one a day for thirty years.
const STATEMENTS_MAX: u64 = 10_950;

/// The folder of one address's sealing keys: `<statement digest>.statement` and, while it may open, `.seed`.
pub struct SealingKeys {
    folder: PathBuf,
    origin: String,
}

/// One of one's own key statements.
#[derive(Debug, Clone)]
pub struct OwnStatement {
    /// Its digest, by which signals name it.
    pub digest: Digest,
    /// What it states.
    pub statement: KeyStatement,
    /// The item.
    pub item: wire::SignedItem,
    /// Whether the private key is still there.
    pub has_private_key: bool,
}

impl SealingKeys {
    pub(crate) fn open(state: &Path, origin: &str, address: Address) -> Result<Self> {
        let folder = state.join("keys").join(address.to_string().replace('/', "-"));
        files::create_folder(&folder)?;
        Ok(Self { folder, origin: origin.to_owned() })
    }

    /// Lists one's own statements by ascending serial.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub fn list(&self) -> Result<Vec<OwnStatement>> {
        let mut statements = Vec::new();
        for path in files::list(&self.folder, "statement")? {
            let damaged = || Error::Fault(format!("{}: the file holds no key statement", path.display()));
            let bytes = Bytes::from(files::read(&path, STATEMENT_BYTES_MAX)?);
            let item = wire::SignedItem::decode(bytes).map_err(|_| damaged())?;
            let parsed = Item::parse(item.clone(), &self.origin);
            // A state folder may serve several logs; another log's statements are not ours to judge.
            let Ok(parsed) = parsed else {
                continue;
            };
            let Payload::KeyStatement(statement) = parsed.payload() else {
                return Err(damaged());
            };
            let digest = parsed.digest();
            let has_private_key = self.seed_path(&digest).exists();
            statements.push(OwnStatement { digest, statement: statement.clone(), item, has_private_key });
        }
        statements.sort_by_key(|own| own.statement.serial);
        Ok(statements)
    }

    /// Says whether a statement was made here.
    pub(crate) fn knows(&self, statement: &Digest) -> bool {
        self.statement_path(statement).exists()
    }

    /// Returns the private key that belongs to a statement, if it was made here and is not deleted.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn private_key(&self, statement: &Digest) -> Result<Option<PrivateKey>> {
        let path = self.seed_path(statement);
        let Some(seed) = files::read_if_there(&path, SEED_BYTES)? else {
            return Ok(None);
        };
        let seed = Zeroizing::new(seed);
        let seed = <&[u8; SEED_BYTES]>::try_from(&seed[..])
            .map_err(|_| Error::Fault(format!("{}: a seed has {SEED_BYTES} bytes", path.display())))?;
        Ok(Some(PrivateKey::from_seed(seed)))
    }

    /// Deletes the private keys whose `open_until` is over, and returns their statements.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn delete_expired(&self, now: Timestamp) -> Result<Vec<Digest>> {
        let mut deleted = Vec::new();
        for own in self.list()?.iter().filter(|own| own.has_private_key) {
            let State::Windowed { open_until, .. } = own.statement.state else {
                continue;
            };
            if open_until < now {
                files::remove(&self.seed_path(&own.digest))?;
                deleted.push(own.digest);
            }
        }
        Ok(deleted)
    }

    /// Keeps a key with its statement; the key first, so that no statement is ever without it.
    fn keep(&self, statement: &Digest, item: &wire::SignedItem, key: Option<&PrivateKey>) -> Result<()> {
        if let Some(key) = key {
            files::write(&self.seed_path(statement), key.seed(), Mode::Secret)?;
        }
        files::write(&self.statement_path(statement), &item.encode_to_vec(), Mode::Plain)
    }

    /// Forgets a statement that was refused: it never was one.
    pub(crate) fn forget(&self, statement: &Digest) -> Result<()> {
        files::remove(&self.statement_path(statement))?;
        files::remove(&self.seed_path(statement))
    }

    fn seed_path(&self, statement: &Digest) -> PathBuf {
        self.folder.join(format!("{statement}.seed"))
    }

    fn statement_path(&self, statement: &Digest) -> PathBuf {
        self.folder.join(format!("{statement}.statement"))
    }
}

/// How long a new key is sealed to and opens.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// From when it is sealed to; absent: at once.
    pub seal_from: Option<Timestamp>,
    /// How long from now it is sealed to, up to 90 days.
    pub seal_for: Duration,
    /// How long after that it still opens, up to 30 days: as long as a signal lives.
    pub open_for: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        Self { seal_from: None, seal_for: SEAL_AHEAD_MAX, open_for: OPEN_AFTER_MAX }
    }
}

impl Client {
    /// Makes one's signing certificate known; the same certificate again earns the same receipt.
    ///
    /// # Errors
    /// If the gateway refuses it, or its receipt does not hold.
    pub async fn publish_certificate(&self) -> Result<wire::Receipt> {
        if self.covenant().is_err() {
            self.refresh_covenant().await?;
        }
        let asked = self.asked()?;
        let chain = self.inner.identity.chain();
        let question = wire::PublishCertificateRequest {
            leaf: chain.leaf.der().clone(),
            chain: chain.above.clone(),
            seen_size: asked.seen_size(),
        };
        // The same certificate again earns the same receipt, so this may be asked again as any question.
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.covenant().publish_certificate(request(question)).await }
        };
        let answer = self.inner.connection.ask(ask).await?;
        let receipt = answer.receipt.unwrap_or_default();
        let verified = self.take_receipt(&asked, &receipt, &answer.consistency).await?;
        let record = expect(&verified, &audience_all(), EventKind::CertificatePublished, None)?;
        let is_ours = matches!(&record.event, Some(wire::record::Event::CertificatePublished(published))
            if published.leaf_sha256 == chain.leaf.sha256().as_ref());
        if !is_ours {
            return Err(Error::not_verified(
                "CERTIFICATE_DIGEST",
                "the receipt is of the publication of another certificate",
            ));
        }
        Ok(receipt)
    }

    /// Makes a new sealing key and publishes its statement.
    ///
    /// # Errors
    /// If the gateway refuses it or cannot be reached; then the statement waits in the outbox with its key in place.
    pub async fn publish_key(&self, windows: Windows) -> Result<Submitted> {
        let covenant = self.refresh_covenant().await?;
        let (id, now, mut signer) = self.new_signer(covenant.digest()).await?;
        let previous = self.own_newest(covenant.key_floor(self.address())).await?;
        let key = PrivateKey::generate().map_err(|error| Error::Fault(error.to_string()))?;
        let seal_from = windows.seal_from.unwrap_or(now);
        let seal_until = now + windows.seal_for;
        signer.key_serial = previous.serial_before;
        let statement = wire::KeyStatement {
            signer: Some(signer),
            serial: previous.serial_before + 1,
            previous_digest: previous.digest.map(Bytes::from).unwrap_or_default(),
            seal_from: Some(seal_from.into()),
            seal_until: Some(seal_until.into()),
            open_until: Some((seal_until + windows.open_for).into()),
            state: Some(wire::key_statement::State::Key(wire::SealingKey {
                suite: SUITE,
                public_key: key.public_key().to_bytes(),
            })),
        };
        self.submit_statement(id, &statement, Some(&key)).await
    }

    /// Withdraws one's newest sealing key: nobody seals to this address until the next statement.
    ///
    /// # Errors
    /// As [`Client::publish_key`].
    pub async fn withdraw_key(&self) -> Result<Submitted> {
        let covenant = self.refresh_covenant().await?;
        let (id, _, mut signer) = self.new_signer(covenant.digest()).await?;
        let previous = self.own_newest(covenant.key_floor(self.address())).await?;
        signer.key_serial = previous.serial_before;
        let statement = wire::KeyStatement {
            signer: Some(signer),
            serial: previous.serial_before + 1,
            previous_digest: previous.digest.map(Bytes::from).unwrap_or_default(),
            state: Some(wire::key_statement::State::Withdrawn(wire::Withdrawn {})),
            ..Default::default()
        };
        self.submit_statement(id, &statement, None).await
    }

    async fn submit_statement(
        &self,
        id: seinpost_protocol::item::ItemId,
        statement: &wire::KeyStatement,
        key: Option<&PrivateKey>,
    ) -> Result<Submitted> {
        let item = self.sign(ItemType::KeyStatement, statement)?;
        let parsed = Item::parse(item.clone(), self.origin())
            .map_err(|bad| Error::usage(bad.field(), format!("the key statement is not right: {bad}")))?;
        let digest = parsed.digest();
        self.inner.sealing_keys.keep(&digest, &item, key)?;
        let request = wire::SubmitRequest { item: Some(item), ..Default::default() };
        self.inner.outbox.put(&Waiting { id, request: request.clone() })?;
        self.submit(Waiting { id, request }).await
    }

    /// Finds what the next own statement must follow, by the log and by what is kept here.
    async fn own_newest(&self, key_floor: u64) -> Result<Previous> {
        let own = self.address();
        let mut newest: Option<(u64, Digest)> = None;
        loop {
            let after = newest.map_or(0, |(serial, _)| serial);
            let page = self.fetch_statements(own, after).await?;
            let Some(last) = page.entries.last() else {
                break;
            };
            newest = Some((last.serial, last.digest));
            if last.serial >= page.newest_serial {
                break;
            }
        }
        let pinned = self.inner.pins.read()?.key(own);
        if let Some(pinned) = pinned.filter(|pinned| newest.is_none_or(|(serial, _)| serial < pinned.serial)) {
            // To state that serial again would be a second word under it, signed by oneself.
            let what = format!("the hub does not show key statement {} of {own}, which it accepted", pinned.serial);
            return Err(Error::not_verified("KEY_STATEMENT_ROLLED_BACK", what));
        }
        if let Some((serial, digest)) = newest
            && !self.inner.sealing_keys.knows(&digest)
            && pinned.is_some_and(|pinned| pinned.serial < serial)
        {
            // Not refused: another machine of this organisation may have made it. Who asks `keys list` sees it.
            self.inner.pins.update(|pins| pins.raise_key(own, serial, Some(digest)))?;
        }
        let floor = key_floor.max(1);
        Ok(match newest {
            Some((serial, digest)) if serial >= floor => Previous { serial_before: serial, digest: Some(digest) },
            // The first at the floor needs none before it; it names what it knows.
            Some((_, digest)) => Previous { serial_before: floor - 1, digest: Some(digest).filter(|_| floor > 1) },
            None => Previous { serial_before: floor - 1, digest: None },
        })
    }

    /// Fetches the statements of an address after a serial, each with a receipt that holds; not yet verified as items.
    pub(crate) async fn fetch_statements(&self, address: Address, after_serial: u64) -> Result<StatementPage> {
        let asked = self.asked()?;
        let question =
            wire::GetKeyStatementsRequest { address: Some(address.into()), after_serial, seen_size: asked.seen_size() };
        let ask = |connection: Connection| {
            let question = question.clone();
            async move { connection.covenant().get_key_statements(request(question)).await }
        };
        let answer = self.inner.connection.ask(ask).await?;
        if answer.newest_serial > STATEMENTS_MAX {
            return Err(Error::not_verified(
                "KEY_SERIAL",
                format!("{address} cannot have {} key statements", answer.newest_serial),
            ));
        }
        let mut entries = Vec::with_capacity(answer.statements.len());
        let mut before = after_serial;
        for entry in answer.statements {
            let (Some(item), Some(receipt)) = (entry.item, entry.receipt) else {
                return Err(Error::not_verified(
                    "KEY_STATEMENT",
                    "the hub shows a key statement without item or receipt",
                ));
            };
            let item = Item::parse(item, self.origin()).map_err(|bad| {
                Error::not_verified(bad.reason(), format!("a key statement of {address} is not right: {bad}"))
            })?;
            let Payload::KeyStatement(statement) = item.payload() else {
                return Err(Error::not_verified("KEY_STATEMENT", "the hub shows another item as a key statement"));
            };
            if statement.signer.address != address || statement.serial <= before {
                return Err(Error::not_verified(
                    "KEY_STATEMENT",
                    format!("the hub shows other key statements than those of {address}"),
                ));
            }
            let verified = self.take_receipt(&asked, &receipt, &answer.consistency).await?;
            expect(&verified, &audience_all(), EventKind::SubmissionAcceptance, Some(&item.digest()))?;
            before = statement.serial;
            entries.push(StatementEntry {
                serial: statement.serial,
                digest: item.digest(),
                statement: statement.clone(),
                item,
            });
        }
        Ok(StatementPage { entries, newest_serial: answer.newest_serial })
    }
}

/// What the next own statement follows.
struct Previous {
    serial_before: u64,
    digest: Option<Digest>,
}

/// Statements of an address that the log holds.
pub(crate) struct StatementPage {
    pub(crate) entries: Vec<StatementEntry>,
    pub(crate) newest_serial: u64,
}

/// A statement that the log holds; its signature is not yet verified.
#[derive(Clone)]
pub(crate) struct StatementEntry {
    pub(crate) serial: u64,
    pub(crate) digest: Digest,
    pub(crate) statement: KeyStatement,
    pub(crate) item: Item,
}

/// Returns a record's time.
pub(crate) fn record_time(record: &wire::Record) -> Timestamp {
    record.time.as_ref().and_then(|time| Timestamp::try_from(time).ok()).expect("a checked record has its time")
}
