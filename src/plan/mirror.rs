//! Plans for the mirror: which objects a scan of the manifests directory creates, changes, moves, brings back and removes.
//!
//! The same plan is committed by the daemon and printed by `manifestd diff`. Only the mirror writes spec.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::resource::digest::sha256;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::object::{Object, Spec};
use crate::resource::provenance::Provenance;

/// The identity of an object for people: its kind and its name.
pub type Identity = (Kind, String);

/// Provenance of an App that an AppSet found, instead of a file: `appset/NAME`.
pub const FOUND_ON_DISK: &str = "appset/";

/// Whether an object was found by an AppSet and is declared nowhere. Told by the line, which no manifest can have: a directory of manifests
/// may well be called `appset`.
#[must_use]
pub const fn is_found_on_disk(provenance: &Provenance) -> bool {
    provenance.line == 0
}

/// What is seen of the directory and of the store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedMirror {
    /// Every document that was read and is valid.
    pub declared: Vec<Arc<Declared>>,
    /// Documents that were read and are broken, as far as their identity is known, with their file: they keep their last good version.
    pub broken: HashSet<(Identity, String)>,
    /// Files that could not be read as a whole: nothing that came from them is removed.
    pub unreadable: HashSet<String>,
    /// Files that were read in this scan; whatever they no longer declare is gone.
    pub read: HashSet<String>,
    /// Files that are no longer there.
    pub gone: HashSet<String>,
    /// Stored objects that are declared here, or came from a file that was read or is gone.
    pub existing: HashMap<Identity, Existing>,
}

/// A valid document and where it is, with the texts of it that are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The object.
    pub object: Arc<Object>,
    /// Where it is declared.
    pub provenance: Provenance,
    /// Who a Task belongs to, for fair share; see [`super::owner`].
    pub owner: String,
    /// The document as it stands in the file, byte for byte: another text is another revision.
    pub manifest: String,
    /// SHA-256 of that, in hex.
    pub manifest_digest: String,
    /// Canonical JSON of the spec.
    pub spec: String,
    /// JSON of the labels.
    pub labels: String,
    /// JSON of the annotations.
    pub annotations: String,
}

impl Declared {
    /// A document of an object, as it stands somewhere.
    #[must_use]
    pub fn new(object: impl Into<Arc<Object>>, provenance: Provenance, owner: String, manifest: String) -> Self {
        let object = object.into();
        let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).unwrap_or_default();
        Self {
            manifest_digest: sha256(&manifest),
            spec: object.spec.to_value().to_string(),
            labels: json(&object.metadata.labels),
            annotations: json(&object.metadata.annotations),
            object,
            provenance,
            owner,
            manifest,
        }
    }

    /// The same of another object.
    #[must_use]
    pub fn of(self, object: Object) -> Self {
        Self::new(object, self.provenance, self.owner, self.manifest)
    }

    fn name(&self) -> Name<'_> {
        (self.object.kind(), &self.object.metadata.name)
    }

    fn identity(&self) -> Identity {
        let (kind, name) = self.name();
        (kind, name.to_owned())
    }
}

/// An identity that is only looked at.
type Name<'d> = (Kind, &'d str);

/// A stored object.
#[derive(Debug, Clone, PartialEq)]
pub struct Existing {
    /// The object.
    pub uid: Uid,
    /// Generation of its spec.
    pub generation: i64,
    /// Canonical JSON of its spec.
    pub spec: String,
    /// JSON of its labels.
    pub labels: String,
    /// JSON of its annotations.
    pub annotations: String,
    /// Where it was accepted from.
    pub provenance: Provenance,
    /// Whether its manifest is gone.
    pub removed: bool,
    /// Whether the text of its manifest is stored; that of what an older program mirrored is not.
    pub has_text: bool,
}

/// What happens to one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is new.
    Create(Arc<Declared>),
    /// Its spec, its labels or only its place changed, or it came back.
    Update {
        /// The stored object.
        uid: Uid,
        /// What is declared now.
        declared: Arc<Declared>,
        /// What is different.
        difference: Difference,
        /// The generation from now on.
        generation: i64,
    },
    /// Its manifest is gone.
    Remove {
        /// The stored object.
        uid: Uid,
        /// Its kind and name.
        identity: Identity,
        /// Where it was declared.
        provenance: Provenance,
    },
}

/// What is different between the stored and the declared object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The spec: the generation moves.
    pub spec: bool,
    /// Labels or annotations.
    pub metadata: bool,
    /// File, line or digest of the file; or the text is not stored yet.
    pub place: bool,
    /// It was removed and is there again.
    pub restored: bool,
}

impl Difference {
    const fn is_any(self) -> bool {
        self.spec || self.metadata || self.place || self.restored
    }
}

/// What one scan comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MirrorPlan {
    /// Creations and updates, in the order of the files.
    pub changes: Vec<Change>,
    /// Removals. Committed only after a complete scan, and only if the fuse holds.
    pub removals: Vec<Change>,
    /// Objects that are declared more than once: who holds the name, and who is refused.
    pub duplicates: Vec<Duplicate>,
    /// How many documents are as they were.
    pub unchanged: usize,
}

/// A name that is declared again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The name.
    pub identity: Identity,
    /// The declaration that counts.
    pub accepted: Provenance,
    /// The one that does not.
    pub refused: Provenance,
}

/// Decides what a scan comes to.
#[must_use]
pub fn plan(observed: &ObservedMirror) -> MirrorPlan {
    let mut plan = MirrorPlan::default();
    let mut places: HashMap<Name<'_>, Vec<&Provenance>> = HashMap::with_capacity(observed.declared.len());
    for declared in &observed.declared {
        places.entry(declared.name()).or_default().push(&declared.provenance);
    }
    for declared in &observed.declared {
        let identity = declared.identity();
        let existing = observed.existing.get(&identity);
        let holder = holder(observed, &identity, existing, &places[&declared.name()]);
        match (holder.filter(|holder| !is_same_place(holder, &declared.provenance)), existing) {
            (Some(holder), _) => plan.duplicates.push(Duplicate {
                identity,
                accepted: holder.clone(),
                refused: declared.provenance.clone(),
            }),
            (None, None) => plan.changes.push(Change::Create(Arc::clone(declared))),
            (None, Some(existing)) => update(existing, declared, &mut plan),
        }
    }
    plan.removals = removals(observed);
    plan
}

/// Who holds a name that is declared in these places: the file it was accepted from as long as that still declares it, else the first to declare it.
fn holder<'p>(
    observed: &ObservedMirror,
    identity: &Identity,
    existing: Option<&'p Existing>,
    places: &[&'p Provenance],
) -> Option<&'p Provenance> {
    let first = || places.iter().min_by_key(|place| (&place.file, place.line)).copied();
    let Some(existing) = existing.filter(|existing| !existing.removed) else { return first() };
    let file = &existing.provenance.file;
    if is_found_on_disk(&existing.provenance) {
        // What a person wrote counts for more than what a scan found.
        return first();
    }
    if let Some(same) = places.iter().find(|place| &place.file == file) {
        return Some(*same);
    }
    if !observed.read.contains(file) && !observed.gone.contains(file) {
        return Some(&existing.provenance);
    }
    // Declared there, though it cannot be understood now: a fault is no reason to lose the name.
    if observed.unreadable.contains(file) || observed.broken.contains(&(identity.clone(), file.clone())) {
        return Some(&existing.provenance);
    }
    first()
}

fn is_same_place(one: &Provenance, other: &Provenance) -> bool {
    one.file == other.file && one.line == other.line
}

fn update(existing: &Existing, declared: &Arc<Declared>, plan: &mut MirrorPlan) {
    let difference = Difference {
        spec: is_other_spec(&existing.spec, declared),
        metadata: existing.labels != declared.labels || existing.annotations != declared.annotations,
        place: existing.provenance.file != declared.provenance.file
            || existing.provenance.line != declared.provenance.line
            || existing.provenance.digest != declared.provenance.digest
            || !existing.has_text,
        restored: existing.removed,
    };
    if !difference.is_any() {
        plan.unchanged += 1;
        return;
    }
    plan.changes.push(Change::Update {
        uid: existing.uid.clone(),
        declared: Arc::clone(declared),
        difference,
        generation: existing.generation + i64::from(difference.spec),
    });
}

/// Whether the specs differ in what they say. The stored text may differ for other reasons: an older program did not know a field that
/// has its default now, or the keys of `config` were put in another order.
fn is_other_spec(stored: &str, declared: &Declared) -> bool {
    if stored == declared.spec {
        return false;
    }
    let spec = &declared.object.spec;
    let stored = serde_json::from_str(stored).and_then(|stored| Spec::from_value(spec.kind(), stored));
    !stored.is_ok_and(|stored| stored == *spec)
}

fn removals(observed: &ObservedMirror) -> Vec<Change> {
    if observed.existing.is_empty() {
        return Vec::new();
    }
    let declared: HashSet<Name<'_>> = observed.declared.iter().map(|declared| declared.name()).collect();
    let broken: HashSet<&Identity> = observed.broken.iter().map(|(identity, _)| identity).collect();
    let is_gone = |identity: &Identity, existing: &Existing| {
        let file = &existing.provenance.file;
        let unseen = observed.gone.contains(file) || observed.read.contains(file);
        unseen
            && !existing.removed
            && !is_found_on_disk(&existing.provenance)
            && !declared.contains(&(identity.0, identity.1.as_str()))
            && !broken.contains(identity)
            && !observed.unreadable.contains(file)
    };
    let gone: BTreeSet<&Identity> =
        observed.existing.iter().filter(|(identity, existing)| is_gone(identity, existing)).map(|(i, _)| i).collect();
    gone.into_iter()
        .map(|identity| {
            let existing = &observed.existing[identity];
            Change::Remove {
                uid: existing.uid.clone(),
                identity: identity.clone(),
                provenance: existing.provenance.clone(),
            }
        })
        .collect()
}
