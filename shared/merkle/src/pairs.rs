//! Two ascending lists side by side, as far as both are known.

/// The keys of both lists in order, each with what the one and the other have under it. With an `end`, only the keys up to it.
pub(crate) fn pairs<'a, K: Ord + Copy, V>(
    mine: &'a [(K, V)],
    theirs: &'a [(K, V)],
    end: Option<K>,
) -> impl Iterator<Item = (K, Option<&'a V>, Option<&'a V>)> {
    let known = move |entry: &&(K, V)| end.is_none_or(|end| entry.0 <= end);
    let mut mine = mine.iter().take_while(known).peekable();
    let mut theirs = theirs.iter().take_while(known).peekable();
    std::iter::from_fn(move || {
        let keys = [mine.peek(), theirs.peek()].into_iter().flatten().map(|entry| entry.0);
        let key = keys.min()?;
        let one = mine.next_if(|entry| entry.0 == key).map(|entry| &entry.1);
        let other = theirs.next_if(|entry| entry.0 == key).map(|entry| &entry.1);
        Some((key, one, other))
    })
}

/// The last key up to which both lists are known: each that was cut off may go on behind its last one. `None`: both are whole.
pub(crate) fn end<K: Ord + Copy, V>(mine: (&[(K, V)], bool), theirs: (&[(K, V)], bool)) -> Option<K> {
    let last = |(list, cut): (&[(K, V)], bool)| list.last().filter(|_| cut).map(|last| last.0);
    last(mine).into_iter().chain(last(theirs)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_list_has_alone_stands_beside_nothing() {
        let (mine, theirs) = ([(1, 'a'), (3, 'b'), (5, 'c')], [(2, 'x'), (3, 'y')]);
        let all: Vec<_> = pairs(&mine, &theirs, None).collect();
        let (one, other) = (|letter| (Some(letter), None), |letter| (None, Some(letter)));
        let flat = |(key, one, other)| (key, (one, other));
        let wanted =
            [(1, one(&'a')), (2, other(&'x')), (3, (Some(&'b'), Some(&'y'))), (5, one(&'c'))].to_vec();
        assert_eq!(all.into_iter().map(flat).collect::<Vec<_>>(), wanted);
        assert_eq!(pairs(&mine, &theirs, Some(2)).count(), 2);
        assert_eq!(end((&mine, true), (&theirs, true)), Some(3));
        assert_eq!(end((&mine, true), (&theirs, false)), Some(5));
        assert_eq!(end((&mine, false), (&theirs, false)), None);
    }
}
