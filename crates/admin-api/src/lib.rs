//! The JSON of the distributor's pages: one type per page, for the distributor that writes it and for
//! the programs that read it.
//!
//! It depends on serde only: no HTTP, no HTML, none of the components that a page shows.
//!
//! Fields are declared in the order in which they are written. Reading is lenient, since the
//! programs of a fleet may have different versions: fields that are not essential may be missing,
//! and unknown fields are ignored. Times are in RFC 3339, UTC, with milliseconds.
//!
//! ```
//! let text = r#"{"elected":[{"userID":"team-a","cluster":"eu","replica":"eu-0"}]}"#;
//! let page: admin_api::HaTracker = serde_json::from_str(text).unwrap();
//! assert_eq!(page.elected[0].replica, "eu-0");
//! ```

mod conditions;
mod ha_tracker;
mod memberlist;
mod multi_kv;
mod status;

pub use conditions::{Condition, Index, PageLink, Service, Services, Severity};
pub use ha_tracker::{
    ClusterDetail, ClusterState, Elected, Elections, HaTracker, Habits, OtherReplica, PastElection,
    ReplicaDesc, StoredValue,
};
pub use memberlist::{Entry, Gossip, Member, MemberState, Memberlist, Message, OtherKey};
pub use multi_kv::{
    Backfill, BackfillState, Comparison, Configured, Difference, Mirror, MirrorFailure, MultiKv,
    MultiStore, Override, Reason,
};
pub use status::{BuildData, BuildInfo, Features};
