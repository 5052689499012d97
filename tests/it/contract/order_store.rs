//! The contract suite of `OrderStore`, except lists.

use pvz::domain::{Answer, BatchRefusal, FieldViolation, Method, Order, OrderResult, Reason, Refusal};
use pvz::ports::{
    Batch, BatchDecision, CommandResult, ErrorKind, OrderStore, Outcome, Position, SortedKeys, Writes,
};

use super::fixtures::{
    StoreFixture, accepted, accepting, answer, at, batch_of, decide, event, handed_over, id, issued, key,
    load, moving, on_every_store, record, returned, write,
};

on_every_store! {
    keeps_every_state_as_it_was_written,
    loads_only_what_a_batch_names,
    does_not_rely_on_the_hint_that_orders_are_new,
    returns_the_outcomes_of_the_decision,
    keeps_every_answer_as_it_was_written,
    replaces_an_expired_record,
    moves_an_order_several_versions_in_one_batch,
    refuses_a_second_insert_and_writes_nothing,
    refuses_an_update_from_another_version_and_writes_nothing,
    refuses_a_second_event_of_a_sequence_and_writes_nothing,
    refuses_an_event_without_an_order_and_writes_nothing,
    loses_no_event_under_concurrent_writes_of_the_same_orders,
    expires_at_most_the_requested_number_of_records,
    audits_every_order_once_in_pages,
    returns_a_stable_secret_and_answers_pings,
}

async fn keeps_every_state_as_it_was_written(fixture: StoreFixture) {
    let bare = Order { weight: None, packaging: [].into(), ..accepted("1", 0) };
    let with = |order_id| accepted(order_id, 0);
    let all = [
        bare,
        issued(&with("2"), 1),
        returned(&issued(&with("3"), 1), 2),
        handed_over(&with("4"), 3),
        handed_over(&returned(&issued(&with("5"), 1), 2), 3),
    ];
    write(&*fixture.orders, accepting(&all)).await.unwrap();
    for order in all {
        assert_eq!(fixture.orders.order(&order.order_id).await.unwrap(), Some(order));
    }
    assert_eq!(fixture.orders.order(&id("6")).await.unwrap(), None);
}

async fn loads_only_what_a_batch_names(fixture: StoreFixture) {
    let (one, two) = (accepted("one", 0), accepted("two", 0));
    let mut writes = accepting(&[one.clone(), two.clone()]);
    writes.records = vec![(key("key-1"), record(answer(&one), 0)), (key("key-2"), record(answer(&two), 0))];
    write(&*fixture.orders, writes).await.unwrap();

    let named = Batch {
        order_ids: [id("one"), id("unknown")].into(),
        idempotency_keys: [key("key-1"), key("key-3")].into(),
        ..Batch::default()
    };
    let loaded = load(&*fixture.orders, named).await;
    assert_eq!(loaded.orders, [(id("one"), one.clone())].into());
    assert_eq!(loaded.records, [(key("key-1"), record(answer(&one), 0))].into());
    let loaded = load(&*fixture.orders, Batch::default()).await;
    assert!(loaded.orders.is_empty() && loaded.records.is_empty());
}

/// Three batches with `creates_orders`: for one the order exists, for one the record, for one neither.
async fn does_not_rely_on_the_hint_that_orders_are_new(fixture: StoreFixture) {
    let (existing, new, late) = (accepted("existing", 0), accepted("new", 1), accepted("late", 2));
    let mut writes = accepting(std::slice::from_ref(&existing));
    writes.records = vec![(key("used"), record(answer(&existing), 0))];
    write(&*fixture.orders, writes).await.unwrap();

    let create = async |order: &Order, request_id: &str| {
        let (order, existing, key) = (order.clone(), existing.clone(), key(request_id));
        let mut writes = accepting(std::slice::from_ref(&order));
        writes.records = vec![(key.clone(), record(answer(&order), 1))];
        let batch = Batch { creates_orders: true, ..batch_of(&writes) };
        let decision = decide(move |loaded| {
            let found = loaded.orders.contains_key(&order.order_id) || loaded.records.contains_key(&key);
            let replayed = Outcome { answer: answer(&existing), replayed: found };
            let writes = if found { Writes::default() } else { writes.clone() };
            BatchDecision { writes, outcomes: vec![replayed] }
        });
        fixture.orders.transact(batch, decision).await.unwrap().pop().unwrap().replayed
    };
    let existing = accepted("existing", 9);
    assert!(create(&existing, "free").await, "the order exists");
    assert!(create(&new, "used").await, "the record exists");
    assert!(!create(&late, "late").await, "neither exists");
    let kept =
        load(&*fixture.orders, Batch { idempotency_keys: [key("used")].into(), ..Batch::default() }).await;
    assert_eq!(kept.records, [(key("used"), record(answer(&accepted("existing", 0)), 0))].into());
    let ids = async |id_: &str| fixture.orders.order(&id(id_)).await.unwrap();
    assert_eq!(ids("existing").await, Some(accepted("existing", 0)));
    assert_eq!((ids("new").await, ids("late").await), (None, Some(late)));
}

async fn returns_the_outcomes_of_the_decision(fixture: StoreFixture) {
    let outcomes = vec![
        Outcome { answer: Err(Refusal::order_not_found(&id("1"))), replayed: false },
        Outcome { answer: answer(&accepted("2", 0)), replayed: true },
    ];
    let decided = outcomes.clone();
    let decision = move |_| BatchDecision { outcomes: decided.clone(), writes: Writes::default() };
    assert_eq!(fixture.orders.transact(Batch::default(), decide(decision)).await.unwrap(), outcomes);
    assert_eq!(fixture.events.head().await.unwrap(), Position(0));
}

fn every_kind_of_answer() -> Vec<CommandResult> {
    let order = accepted("1", 0);
    let expired = order.clone().at(at(1_000));
    let refusal = Refusal {
        violations: vec![FieldViolation { field: "order_ids[2]".into(), description: "is not valid".into() }],
        ..Refusal::new(Reason::StorageExpired, "the storage deadline has passed").with("now", at(1_000))
    };
    let results = vec![
        OrderResult { order_id: id("1"), outcome: Ok(expired.clone()) },
        OrderResult { order_id: id("2"), outcome: Err(refusal.clone()) },
    ];
    let batch = Some(BatchRefusal { refused_total: 9, results: results.clone() });
    vec![
        Ok(Answer::Order(expired.clone())),
        Ok(Answer::AlreadyExisted(issued(&order, 1).at(at(2)))),
        Ok(Answer::Results(results)),
        Ok(Answer::Results(Vec::new())),
        Err(refusal.clone()),
        Err(Refusal { batch, ..refusal }),
    ]
}

async fn keeps_every_answer_as_it_was_written(fixture: StoreFixture) {
    let mut records = Vec::new();
    for (kind, answer) in every_kind_of_answer().into_iter().enumerate() {
        records.push((key(&format!("answer-{kind}")), record(answer, 0)));
    }
    for (kind, method) in Method::ALL.into_iter().enumerate() {
        let hashes = vec![[9; 16]; method.fields().len()];
        let answer = answer(&accepted("1", 0));
        let mut kept = (key(&format!("method-{kind}")), record(answer, 0));
        kept.0.scope = "somebody".to_owned();
        (kept.1.method, kept.1.hashes) = (method, hashes);
        records.push(kept);
    }
    records.sort_by(|one, other| one.0.cmp(&other.0));
    let writes = Writes { records: records.clone(), ..Writes::default() };
    let named = batch_of(&writes);
    write(&*fixture.orders, writes).await.unwrap();
    assert_eq!(load(&*fixture.orders, named).await.records, records.into_iter().collect());
}

async fn replaces_an_expired_record(fixture: StoreFixture) {
    for created_at in [5, 9, 9] {
        let kept = (key("again"), record(answer(&accepted(&format!("order-{created_at}"), 0)), created_at));
        let writes = Writes { records: vec![kept.clone()], ..Writes::default() };
        let named = batch_of(&writes);
        write(&*fixture.orders, writes).await.unwrap();
        assert_eq!(load(&*fixture.orders, named).await.records, [kept].into());
    }
    assert_eq!(
        fixture.orders.expire_idempotency_records(at(9), 10).await.unwrap(),
        0,
        "the older record was removed"
    );
    assert_eq!(fixture.orders.expire_idempotency_records(at(10), 10).await.unwrap(), 1);
}

async fn moves_an_order_several_versions_in_one_batch(fixture: StoreFixture) {
    let first = accepted("1", 0);
    write(&*fixture.orders, accepting(std::slice::from_ref(&first))).await.unwrap();
    let second = issued(&first, 1);
    let third = returned(&second, 2);
    let fourth = handed_over(&third, 3);
    let writes = moving(&first, &[second, third, fourth.clone()]);
    write(&*fixture.orders, writes).await.unwrap();
    assert_eq!(fixture.orders.order(&id("1")).await.unwrap(), Some(fourth));

    // A batch may also create an order with a later version.
    let first = accepted("2", 0);
    let second = issued(&first, 1);
    let events = vec![event(&first), event(&second)];
    let writes = Writes { inserted: vec![second.clone()], events, ..Writes::default() };
    write(&*fixture.orders, writes).await.unwrap();
    assert_eq!(fixture.orders.order(&id("2")).await.unwrap(), Some(second));
    let sequences: Vec<i64> =
        fixture.events.history(&id("2"), 0, 10).await.unwrap().iter().map(|e| e.event.sequence).collect();
    assert_eq!(sequences, [1, 2]);
}

/// Asserts that faulty writes are refused, and that no other write of the batch is stored.
async fn assert_refused(fixture: &StoreFixture, faulty: Writes) {
    let before = fixture.events.head().await.unwrap();
    let other = accepted("other", 0);
    let mut writes = faulty;
    writes.inserted.push(other.clone());
    writes.inserted.sort_by(|one, other| one.order_id.cmp(&other.order_id));
    writes.events.insert(0, event(&other));
    writes.records.push((key("other"), record(answer(&other), 0)));
    let error = write(&*fixture.orders, writes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Inconsistent, "{error:?}");

    assert_eq!(fixture.orders.order(&id("other")).await.unwrap(), None);
    assert_eq!(fixture.events.head().await.unwrap(), before);
    assert!(fixture.events.history(&id("other"), 0, 10).await.unwrap().is_empty());
    let named = Batch { idempotency_keys: [key("other")].into(), ..Batch::default() };
    assert!(load(&*fixture.orders, named).await.records.is_empty());
    // The store still accepts writes.
    write(&*fixture.orders, accepting(&[accepted("later", 0)])).await.unwrap();
    let position = fixture.events.head().await.unwrap();
    assert_eq!(position, Position(before.0 + 1), "positions have no gap after a refused batch");
}

async fn refuses_a_second_insert_and_writes_nothing(fixture: StoreFixture) {
    let first = accepted("1", 0);
    write(&*fixture.orders, accepting(std::slice::from_ref(&first))).await.unwrap();
    let other = Order { price: pvz::domain::Money::ZERO, ..first.clone() };
    let second = event(&issued(&other, 1));
    assert_refused(&fixture, Writes { inserted: vec![other], events: vec![second], ..Writes::default() })
        .await;
    assert_eq!(fixture.orders.order(&id("1")).await.unwrap(), Some(first));
}

async fn refuses_an_update_from_another_version_and_writes_nothing(fixture: StoreFixture) {
    let first = accepted("1", 0);
    write(&*fixture.orders, accepting(std::slice::from_ref(&first))).await.unwrap();
    let second = issued(&first, 1);
    let mut writes = moving(&first, std::slice::from_ref(&second));
    writes.updated[0].0 = 2;
    assert_refused(&fixture, writes).await;
    assert_eq!(fixture.orders.order(&id("1")).await.unwrap(), Some(first));
    let unknown = accepted("unknown", 0);
    let writes = moving(&unknown, &[issued(&unknown, 1)]);
    assert_eq!(write(&*fixture.orders, writes).await.unwrap_err().kind(), ErrorKind::Inconsistent);
}

async fn refuses_a_second_event_of_a_sequence_and_writes_nothing(fixture: StoreFixture) {
    let first = accepted("1", 0);
    write(&*fixture.orders, accepting(std::slice::from_ref(&first))).await.unwrap();
    let second = issued(&first, 1);
    let mut writes = moving(&first, std::slice::from_ref(&second));
    writes.events[0].sequence = 1;
    assert_refused(&fixture, writes).await;
    assert_eq!(fixture.orders.order(&id("1")).await.unwrap(), Some(first));
}

async fn refuses_an_event_without_an_order_and_writes_nothing(fixture: StoreFixture) {
    let stray = event(&accepted("stray", 0));
    assert_refused(&fixture, Writes { events: vec![stray], ..Writes::default() }).await;
    assert!(fixture.events.history(&id("stray"), 0, 10).await.unwrap().is_empty());
}

const WRITERS: usize = 64;
const BATCHES: usize = 4;
const SHARED: usize = 6;

/// Adds an event to each order, and creates orders that do not exist.
async fn append_events(store: &dyn OrderStore, ids: SortedKeys<pvz::domain::OrderId>) {
    let batch = Batch { order_ids: ids.clone(), ..Batch::default() };
    let decision = decide(move |loaded| {
        let mut writes = Writes::default();
        for order_id in ids.iter() {
            let after = if let Some(before) = loaded.orders.get(order_id) {
                let after = Order { version: before.version + 1, ..before.clone() };
                writes.updated.push((before.version, after.clone()));
                after
            } else {
                let new = accepted(order_id.as_str(), 0);
                writes.inserted.push(new.clone());
                new
            };
            writes.events.push(event(&after));
        }
        BatchDecision { writes, outcomes: Vec::new() }
    });
    store.transact(batch, decision).await.unwrap();
}

async fn loses_no_event_under_concurrent_writes_of_the_same_orders(fixture: StoreFixture) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = fixture.orders.clone();
        writers.spawn(async move {
            for batch in 0..BATCHES {
                let first = (writer + batch) % SHARED;
                let ids = [first, (first + 1) % SHARED, (first + 3) % SHARED];
                append_events(&*store, ids.iter().map(|order| id(&format!("shared-{order}"))).collect())
                    .await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let mut events = 0;
    for order in 0..SHARED {
        let order_id = id(&format!("shared-{order}"));
        let history = fixture.events.history(&order_id, 0, usize::MAX).await.unwrap();
        let sequences: Vec<i64> = history.iter().map(|logged| logged.event.sequence).collect();
        let version = fixture.orders.order(&order_id).await.unwrap().unwrap().version;
        assert_eq!(sequences, (1..=version).collect::<Vec<_>>());
        events += sequences.len();
    }
    assert_eq!(events, WRITERS * BATCHES * 3);
    assert_eq!(fixture.events.head().await.unwrap(), Position(i64::try_from(events).unwrap()));
}

async fn expires_at_most_the_requested_number_of_records(fixture: StoreFixture) {
    let records = (0..10).map(|n| (key(&format!("key-{n}")), record(answer(&accepted("1", 0)), n))).collect();
    write(&*fixture.orders, Writes { records, ..Writes::default() }).await.unwrap();
    assert_eq!(fixture.orders.expire_idempotency_records(at(7), 3).await.unwrap(), 3);
    assert_eq!(fixture.orders.expire_idempotency_records(at(7), 0).await.unwrap(), 0);
    assert_eq!(fixture.orders.expire_idempotency_records(at(7), 100).await.unwrap(), 4);
    assert_eq!(fixture.orders.expire_idempotency_records(at(7), 100).await.unwrap(), 0);
    let keys = (0..10).map(|n| key(&format!("key-{n}"))).collect();
    let loaded = load(&*fixture.orders, Batch { idempotency_keys: keys, ..Batch::default() }).await;
    let mut left: Vec<_> = loaded.records.keys().map(|key| key.request_id.to_string()).collect();
    left.sort();
    assert_eq!(left, ["key-7", "key-8", "key-9"], "before is exclusive");
}

async fn audits_every_order_once_in_pages(fixture: StoreFixture) {
    let orders: Vec<Order> = (0..7).map(|n| accepted(&format!("order-{n}"), n)).collect();
    write(&*fixture.orders, accepting(&orders)).await.unwrap();
    let last = issued(&orders[3], 10);
    write(&*fixture.orders, moving(&orders[3], std::slice::from_ref(&last))).await.unwrap();
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|audited: &pvz::ports::AuditedOrder| audited.order_id.clone());
        let page = fixture.orders.audit(after.as_ref(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found.len(), 7);
    for (audited, order) in found.iter().zip(&orders) {
        assert_eq!(audited.order_id, order.order_id);
        let issued = order.order_id == last.order_id;
        let (row, events) = if issued { (&last, vec![order, &last]) } else { (order, vec![order]) };
        assert_eq!(audited.row, Ok(Some(row.clone())));
        assert_eq!(audited.events, Ok(events.into_iter().map(event).collect()));
    }
}

async fn returns_a_stable_secret_and_answers_pings(fixture: StoreFixture) {
    let secret = fixture.orders.secret().await.unwrap();
    assert_ne!(secret, [0; 32]);
    assert_eq!(fixture.orders.secret().await.unwrap(), secret);
    fixture.orders.ping().await.unwrap();
}
