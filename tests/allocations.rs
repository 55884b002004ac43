//! A request through the whole stack allocates no more than it did when these figures were written,
//! with a tenth of slack: other versions of dependencies, and futures that grow a little.

#[path = "../benches/stack/mod.rs"]
mod stack;

use allocation_counter::AllocationInfo;
use stack::{Provider, dispatch, gateway, request, send, wire};

/// Counts what one request of 1 kB allocates, from the made request to the last frame of its answer.
fn allocations(provider: Provider) -> AllocationInfo {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let service = gateway(dispatch(provider));
    let body = wire::conversation("chat", 1_000, false);
    // Statics, the accounts of the ledger and the caller's rate are made by the first requests.
    for _ in 0..10 {
        runtime.block_on(send(service.clone(), request(body.clone())));
    }
    let (service, req) = (service.clone(), request(body));
    let call = send(service, req);
    allocation_counter::measure(|| {
        runtime.block_on(call);
    })
}

#[test]
fn a_request_that_passes_through_allocates_little() {
    let info = allocations(Provider::openai());

    println!("1 kB passed through: {} allocations, {} bytes", info.count_total, info.bytes_total);
    // It was 46 and 16,507; six are the headers that say how the caller stands with its limit.
    assert!(info.count_total <= 50, "{info:?}");
    assert!(info.bytes_total <= 18_100, "{info:?}");
}

#[test]
fn a_request_that_is_translated_allocates_not_much_more() {
    let info = allocations(Provider::anthropic());

    println!("1 kB translated: {} allocations, {} bytes", info.count_total, info.bytes_total);
    // It was 85 and 49,006.
    assert!(info.count_total <= 92, "{info:?}");
    assert!(info.bytes_total <= 53_900, "{info:?}");
}
