//! Lists and scans, page by page.

use serde_json::{Value, json};

use crate::support::Api;

/// Follows the cursors from `target` to the end, and returns the entries of each page.
async fn pages(api: &Api, target: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = target.to_owned();
    loop {
        let page = api.get(&next).await;
        assert_eq!(page.status, 200, "{next}");
        let page = page.json();
        pages.push(page["entries"].as_array().unwrap().clone());
        let Some(cursor) = page["cursor"].as_str() else { return pages };
        assert!(pages.len() < 100, "the cursors lead nowhere");
        next = format!("{target}&cursor={cursor}");
    }
}

fn names(pages: &[Vec<Value>], field: &str) -> Vec<Vec<String>> {
    let names = |page: &Vec<Value>| page.iter().map(|entry| entry[field].to_string()).collect();
    pages.iter().map(names).collect()
}

#[tokio::test]
async fn a_list_has_the_keys_of_one_partition_key_by_sort_key() {
    let api = Api::new().await;
    for sort in ["c", "a", "e", "b", "d"] {
        api.put(&format!("/v1/kv/ks/t/p?sort={sort}"), None, sort).await;
    }
    api.put("/v1/kv/ks/t/other?sort=a", None, "x").await;
    api.put("/v1/kv/ks/u/p?sort=a", None, "x").await;
    let pages = pages(&api, "/v1/list/ks/t/p?limit=2").await;
    assert_eq!(
        names(&pages, "sort"),
        [vec!["\"a\"", "\"b\""], vec!["\"c\"", "\"d\""], vec!["\"e\""]]
    );
    assert_eq!(pages[0][0]["values"][0]["value"], "YQ==");
    assert_eq!(pages[0][0]["key"], "p");
}

#[tokio::test]
async fn a_scan_goes_through_every_shard_and_leaves_out_what_was_deleted() {
    let api = Api::new().await;
    for key in ["a", "b", "c", "dd", "ee"] {
        api.put(&format!("/v1/kv/ks/t/{key}"), None, key).await;
    }
    let context = api.get("/v1/kv/ks/t/b").await.context().to_owned();
    api.send("DELETE", "/v1/kv/ks/t/b", &[("merganser-context", &context)], "").await;
    let pages = pages(&api, "/v1/scan/ks/t?limit=1").await;
    let found: Vec<_> = names(&pages, "key").concat();
    assert_eq!(found, ["\"dd\"", "\"ee\"", "\"a\"", "\"c\""]);
}

#[tokio::test]
async fn keys_that_are_no_text_come_in_base64() {
    let api = Api::new().await;
    api.put("/v1/kv/ks/t/%ff?sort=%fe", None, "v").await;
    api.put("/v1/kv/ks/t/%C3%A4", None, "v").await;
    let page = api.get("/v1/scan/ks/t?values=false").await.json();
    let mut cursor = page["cursor"].as_str().unwrap();
    let entries = page["entries"].clone();
    assert_eq!(entries[0]["key"], "ä");
    assert_eq!(entries[0].get("sort"), None);
    let page = api.get(&format!("/v1/scan/ks/t?values=false&cursor={cursor}")).await.json();
    cursor = page["entries"][0]["context"].as_str().unwrap();
    let entry = json!({"key_base64": "/w==", "sort_base64": "/g==", "context": cursor});
    assert_eq!(page["entries"], json!([entry]));
}

#[tokio::test]
async fn the_context_of_an_entry_is_that_of_its_key() {
    let api = Api::new().await;
    api.put("/v1/kv/ks/t/p?sort=a", None, "1").await;
    api.put("/v1/kv/ks/t/p?sort=a", None, "2").await;
    let page = api.get("/v1/list/ks/t/p").await.json();
    assert_eq!(page["entries"][0]["values"].as_array().unwrap().len(), 2);
    assert_eq!(page["receipt"]["wanted"], 2);
    let context = page["entries"][0]["context"].as_str().unwrap();
    api.put("/v1/kv/ks/t/p?sort=a", Some(context), "both").await;
    assert_eq!(api.get("/v1/kv/ks/t/p?sort=a").await.body, "both");
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let api = Api::new().await;
    api.send("PUT", "/v1/keyspaces/other", &[], "").await;
    api.send("PUT", "/v1/keyspaces/other/tables/t", &[], r#"{"policy":"siblings"}"#).await;
    for sort in ["a", "b"] {
        api.put(&format!("/v1/kv/ks/t/p?sort={sort}"), None, sort).await;
    }
    let list = api.get("/v1/list/ks/t/p?limit=1").await.json()["cursor"].clone();
    let scan = api.get("/v1/scan/ks/t?limit=1").await.json()["cursor"].clone();
    let (list, scan) = (list.as_str().unwrap(), scan.as_str().unwrap());
    for target in [
        format!("/v1/list/ks/t/q?cursor={list}"),
        format!("/v1/list/ks/t/p?cursor={scan}"),
        format!("/v1/scan/ks/t?cursor={list}"),
        format!("/v1/list/ks/u/p?cursor={list}"),
        format!("/v1/scan/ks/u?cursor={scan}"),
        format!("/v1/list/other/t/p?cursor={list}"),
        format!("/v1/scan/other/t?cursor={scan}"),
        format!("/v1/scan/ks/t?cursor={}", &scan[..scan.len() - 2]),
        "/v1/scan/ks/t?cursor=".to_owned(),
        "/v1/scan/ks/t?cursor=%20".to_owned(),
    ] {
        assert_eq!(api.get(&target).await.problem(), "400 cursor_invalid", "{target}");
    }
}

#[tokio::test]
async fn a_cursor_with_any_character_changed_is_refused() {
    let api = Api::new().await;
    for sort in ["a", "b"] {
        api.put(&format!("/v1/kv/ks/t/p?sort={sort}"), None, sort).await;
    }
    let page = api.get("/v1/list/ks/t/p?limit=1").await.json();
    let cursor = page["cursor"].as_str().unwrap();
    assert_eq!(api.get(&format!("/v1/list/ks/t/p?cursor={cursor}")).await.status, 200);
    for at in 0..cursor.len() {
        let mut changed = cursor.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let target = format!("/v1/list/ks/t/p?cursor={}", String::from_utf8(changed).unwrap());
        assert_eq!(api.get(&target).await.problem(), "400 cursor_invalid", "{target}");
    }
}
