//! The bytes of a backup, handed on as they come.

use bytes::Bytes;
use http_door::NoBackup;

use crate::support::Api;

#[tokio::test]
async fn what_the_node_sends_is_handed_on() {
    let api = Api::new().await;
    api.node.state().backup =
        Ok(vec![Bytes::from("a piece"), Bytes::new(), Bytes::from(", another")]);
    let answer = api.send("GET", "/v1/backup", &[], "").await;
    assert_eq!((answer.status, answer.body.as_ref()), (200, &b"a piece, another"[..]));
}

#[tokio::test]
async fn why_there_is_none_is_told_by_a_code() {
    for (none, problem) in [
        (NoBackup::UnderWay, "409 backup_under_way"),
        (NoBackup::NotWhole("n1 copies".to_owned()), "503 node_joining"),
        (NoBackup::Disk("rot".to_owned()), "500 disk_failed"),
    ] {
        let api = Api::new().await;
        api.node.state().backup = Err(none);
        assert_eq!(api.send("GET", "/v1/backup", &[], "").await.problem(), problem);
    }
    let refused = Api::new().await.send("GET", "/v1/backup?x=1", &[], "").await;
    assert_eq!(refused.problem(), "400 malformed_request");
}
