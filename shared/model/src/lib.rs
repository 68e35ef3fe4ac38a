//! The nouns of Millrace: ids, times, records, runs, ranges, ledgers, and what a store can be asked. Pure.
