//! The pure transition: a document's whole life from trigger to delivery. Beside it the limit, a mere clone of each
//! of the records on its way: a transition cannot cost less, since it returns a new record.
#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]

mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use edobridge::saga::document::{DocumentSaga, Policy, Step};
use std::hint::black_box;
use support::happy_path::{self, Files, NOW};

/// Every record on the way.
fn life(policy: &Policy) -> Vec<DocumentSaga> {
    let mut records = vec![happy_path::first(1, NOW, policy).saga];
    while let Some(next) =
        records.last().and_then(|saga| happy_path::next(saga, Files::imagined(), NOW, policy))
    {
        records.push(next.saga);
    }
    assert_eq!(records.last().map(|saga| saga.step), Some(Step::Delivered), "the path is a happy one");
    records
}

fn whole_life(criterion: &mut Criterion) {
    let policy = happy_path::policy();
    let records = life(&policy);
    let mut group = criterion.benchmark_group("transition");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("happy path", |bencher| {
        bencher.iter(|| black_box(life(black_box(&policy))));
    });
    group.bench_function("limit: clone of each record", |bencher| {
        bencher.iter_batched(|| (), |()| black_box(&records).clone(), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, whole_life);
criterion_main!(benches);
