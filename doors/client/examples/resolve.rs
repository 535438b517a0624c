//! Two writers that do not know of each other, and a third that resolves what they left.
//!
//! ```text
//! merganser dev &
//! cargo run -p client --example resolve -- http://127.0.0.1:7001 http://127.0.0.1:7002
//! ```

use client::{
    Client, Content, Error, Key, KeyspaceContract, Options, ReadOptions, TableContract,
    WriteOptions,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    let client = Client::new(endpoints, Options::default())?;
    client.create_keyspace("example", &KeyspaceContract::default()).await?;
    client.create_table("example", "carts", &TableContract::new("siblings")).await?;
    let carts = client.table("example", "carts");
    let (key, read, write) = (Key::from("alice"), ReadOptions::default(), WriteOptions::default());

    // Neither has read, so neither replaces the other.
    carts.put(&key, &Content::text("milk"), None, &write).await?;
    carts.put(&key, &Content::text("rum"), None, &write).await?;

    let found = carts.get(&key, &read).await?;
    let mut items: Vec<String> = found.values.iter().map(|value| value.text().into()).collect();
    println!("{} values: {items:?}", found.values.len());

    // With the context of the read, the new value replaces all that were read.
    items.sort();
    items.dedup();
    let merged = Content::text(items.join(", "));
    match carts.put(&key, &merged, found.context.as_ref(), &write).await {
        Ok(_) => println!("one value: {}", carts.get(&key, &read).await?.values.len() == 1),
        // It may be stored or not: read, and decide anew.
        Err(err @ Error::Unknown { .. }) => println!("{err}"),
        Err(err) => return Err(err),
    }
    Ok(())
}
