//! A mistake, shown where it stands.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::Origin;

/// A text in which mistakes can stand: the file, or one option as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: SourceName,
    text: String,
    line_starts: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SourceName {
    File(String),
    CommandLine,
}

impl SourceName {
    fn text(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::CommandLine => "command line",
        }
    }
}

/// What is wrong, where, and what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Which source, and which bytes of it; `None`: nowhere in particular.
    pub(super) place: Option<Place>,
    pub(super) message: String,
    /// A second place that has to do with it, and what it is.
    pub(super) beside: Option<(Place, String)>,
    pub(super) help: Option<String>,
}

/// Some bytes of one of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) span: Range<usize>,
}

/// Everything that is wrong with a configuration, each shown with file, line, column and source line.
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    sources: Vec<Source>,
    /// Of the syntax: others may come of them alone.
    syntax: Vec<Mistake>,
    mistakes: Vec<Mistake>,
}

impl Mistakes {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.all().count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn all(&self) -> impl Iterator<Item = &Mistake> {
        self.syntax.iter().chain(&self.mistakes)
    }

    /// Adds the file as a source.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> usize {
        self.source(SourceName::File(path.display().to_string()), text.to_owned())
    }

    /// Adds one option, as typed, as a source.
    pub(super) fn option(&mut self, text: String) -> usize {
        self.source(SourceName::CommandLine, text)
    }

    fn source(&mut self, name: SourceName, text: String) -> usize {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        self.sources.push(Source { name, text, line_starts });
        self.sources.len() - 1
    }

    pub(super) fn push(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// The text cannot be read as what it is meant to be.
    pub(super) fn push_syntax(&mut self, mistake: Mistake) {
        self.syntax.push(mistake);
    }

    /// Where a value that stands at `place` comes from.
    pub(super) fn origin(&self, place: &Place) -> Origin {
        match self.sources.get(place.source) {
            Some(Source { name: SourceName::File(_), line_starts, .. }) => {
                Origin::Line(line_starts.partition_point(|&start| start <= place.span.start))
            }
            _ => Origin::Typed("-f"),
        }
    }

    /// In the order of their places, each once; those of the syntax first.
    pub(super) fn sorted(mut self) -> Self {
        for mistakes in [&mut self.syntax, &mut self.mistakes] {
            mistakes.sort_by_key(|mistake| {
                mistake.place.as_ref().map(|place| (place.source, place.span.start))
            });
            mistakes.dedup();
        }
        self
    }

    fn group<'m>(&'m self, mistake: &'m Mistake) -> Group<'m> {
        let mut group = Level::ERROR
            .primary_title(&mistake.message)
            .elements(None::<Snippet<'_, Annotation<'_>>>);
        let mut places = Vec::new();
        places.extend(mistake.place.as_ref().map(|place| (place, AnnotationKind::Primary, None)));
        if let Some((place, label)) = &mistake.beside {
            places.push((place, AnnotationKind::Context, Some(label.as_str())));
        }
        for (at, source) in self.sources.iter().enumerate() {
            let here = places.iter().filter(|(place, ..)| place.source == at);
            let annotations: Vec<_> = here
                .map(|(place, kind, label)| kind.span(place.span.clone()).label(*label))
                .collect();
            if !annotations.is_empty() {
                let snippet = Snippet::source(&source.text).path(source.name.text());
                group = group.element(snippet.annotations(annotations));
            }
        }
        match &mistake.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.all().enumerate() {
            let group = self.group(mistake);
            let gap = if at > 0 { "\n\n" } else { "" };
            write!(f, "{gap}{}", Renderer::plain().render(&[group]))?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Of some words, the one that was probably meant.
pub(super) fn meant<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let close = |known: &'w str| (strsim::normalized_damerau_levenshtein(word, known), known);
    let scored = words.into_iter().map(close).filter(|(score, _)| *score >= 0.5);
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map(|(_, known)| known)
}

/// The same as a question to whoever wrote the word.
pub(super) fn did_you_mean<'w>(
    word: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<String> {
    meant(word, words).map(|known| format!("did you mean `{known}`?"))
}
