//! The document flow under test: as a complete table, by behaviour, by chance and against a small model world.
//!
//! Every single transition that any of these tests makes goes through [`fixture::apply`], which checks the rules
//! that hold for all of them: so the rules are proved as often as anything is.

mod chance;
mod create;
mod delivery;
mod doubt;
mod failures;
mod fixture;
mod own_signature;
mod people;
mod sent_whole;
mod source;
mod table;
mod waiting;
mod world;
