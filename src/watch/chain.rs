//! Where a path leads, link by link: everything whose change may change what is read there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A folder and the name in it that counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) folder: PathBuf,
    pub(super) name: OsString,
}

/// As many links as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Every symbolic link on the way to a file, the file itself, and the folder that it is in. What does not exist ends the way.
///
/// Kubernetes has a file behind two links, `refractium.toml` to `..data/refractium.toml` and `..data` to a folder, and
/// changes the second; editors rename. So it is folders that have to be watched.
pub(super) fn chain(path: &Path) -> Vec<Link> {
    let mut chain = Vec::new();
    let mut left = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        let next =
            if name == ".." { at.parent().unwrap_or(&at).to_owned() } else { at.join(&name) };
        let target = fs::read_link(&next).ok().filter(|_| links < MOST_LINKS);
        if target.is_some() || left.is_empty() {
            chain.push(Link { folder: at.clone(), name });
        }
        let Some(target) = target else {
            at = next;
            continue;
        };
        links += 1;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        names(&target).into_iter().rev().for_each(|name| left.push_front(name));
    }
    let folder = at.parent().unwrap_or(&at);
    if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) {
        chain.push(Link { folder: parent.to_owned(), name: name.to_owned() });
    }
    chain
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("volume/..2026")).expect("a folder");
        fs::write(at("volume/..2026/file"), "").expect("room");
        symlink("..2026", at("volume/..data")).expect("a link");
        symlink("..data/file", at("volume/file")).expect("a link");
        symlink(at("volume/file"), at("mine")).expect("a link");
        let found = chain(&at("mine"));
        let link = |link: &Link| link.folder.join(&link.name);
        let found: Vec<_> = found.iter().map(link).collect();
        let expected =
            ["mine", "volume/file", "volume/..data", "volume/..2026/file", "volume/..2026"];
        assert_eq!(found, expected.map(at));
    }

    #[test]
    fn a_link_to_itself_and_a_file_that_is_not_there_have_an_end() {
        let folder = tempfile::tempdir().expect("a folder");
        symlink("round", folder.path().join("round")).expect("a link");
        assert!(chain(&folder.path().join("round")).len() <= MOST_LINKS + 2);
        assert!(chain(&folder.path().join("missing")).iter().any(|it| it.name == "missing"));
    }
}
