//! The log's leaves, one by one, opened where one may see them: a list for the eye.
//!
//! Each record that is shown is checked against its commitment; that the commitments are those of the signed log is
//! what an audit proves, not this list.

use seinpost_protocol::digest::Digest;
use seinpost_protocol::record;
use seinpost_protocol::wire;

use crate::client::Client;
use crate::error::{Error, Result};

/// One leaf of the log.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Its index.
    pub index: u64,
    /// Its commitment.
    pub commitment: Digest,
    /// What it opens to, where one may see it and it is not erased.
    pub record: Option<wire::Record>,
    /// The rule by which it was erased.
    pub erased_by: Option<String>,
}

impl Client {
    /// Lists the leaves from one index up to another, or up to the newest checkpoint.
    ///
    /// # Errors
    /// If the gateway cannot be reached, or a record is not what its commitment stands for.
    pub async fn records(&self, from: u64, to: Option<u64>) -> Result<Vec<Leaf>> {
        let connection = &self.inner.connection;
        let question = wire::ListRecordsRequest { from, to: to.unwrap_or(0) };
        let answer = connection.audit().list_records(tonic::Request::new(question)).await;
        let mut stream = answer.map_err(|status| connection.error(&status))?.into_inner();
        let mut leaves = Vec::new();
        while let Some(leaf) = stream.message().await.map_err(|status| connection.error(&status))? {
            leaves.push(open(leaf)?);
        }
        Ok(leaves)
    }
}

fn open(leaf: wire::ListRecordsResponse) -> Result<Leaf> {
    let wrong = |what: String| Error::not_verified("COMMITMENT", format!("record {}: {what}", leaf.index));
    let commitment = Digest::try_from(&leaf.commitment).map_err(|_| wrong("its commitment is none".into()))?;
    let record = if leaf.record.is_empty() {
        None
    } else {
        Some(record::open(leaf.record.clone(), &leaf.salt, &commitment).map_err(|bad| wrong(bad.to_string()))?)
    };
    Ok(Leaf { index: leaf.index, commitment, record, erased_by: Some(leaf.erased_by).filter(|rule| !rule.is_empty()) })
}
