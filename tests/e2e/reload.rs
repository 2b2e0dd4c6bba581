//! A new configuration comes into force whole or not at all, and disturbs nobody.

use tidegate_kit::{Gateway, Origin, Outcome, RawConnection, Request, Result, Signal, send};

use crate::{api, gateway, open_route};

/// A configuration whose only route takes this prefix.
fn only(origin: &Origin, version: u64, prefix: &str) -> String {
    format!(
        "configVersion: {version}\n{}routes:\n  - {{name: only, match: {{pathPrefix: {prefix}}}, \
         upstream: {{service: api}}, policies: {{auth: none}}}}\n",
        api(&[origin.address()])
    )
}

async fn status(gateway: &Gateway, target: &str) -> Result<u16> {
    Ok(gateway.get(target).await?.status)
}

#[tokio::test]
async fn a_changed_file_comes_into_force() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let before = gateway.config_version().await?;
    assert_eq!((status(&gateway, "/one").await?, status(&gateway, "/two").await?), (200, 404));
    gateway.write_config(&only(&origin, 2, "/two"))?;
    gateway.runs_version(2).await?;
    assert_eq!((status(&gateway, "/one").await?, status(&gateway, "/two").await?), (404, 200));
    let after = gateway.config_version().await?;
    assert_ne!(before["checksum"], after["checksum"]);
    let applied = [("outcome", "applied")];
    assert!(gateway.metric("tidegate_config_applies_total", &applied).await? > 1.5);
    let old = gateway.metric("tidegate_config_info", &[("version", "1")]).await?;
    assert!(old < 0.5, "the old version is no longer in force");
    Ok(())
}

/// Editors write in place; others replace the file. Both are seen.
#[tokio::test]
async fn a_file_written_in_place_is_seen_too() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let text = std::fs::read_to_string(gateway.file())?;
    std::fs::write(gateway.file(), text.replace("configVersion: 1", "configVersion: 2"))?;
    gateway.runs_version(2).await?;
    Ok(())
}

/// Editors that write in several steps: whatever is read in between changes nothing.
#[tokio::test]
async fn a_file_written_in_two_halves_comes_into_force_when_it_is_whole() -> Outcome {
    use std::io::Write;
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let old = std::fs::read_to_string(gateway.file())?;
    let new = old.replace("configVersion: 1", "configVersion: 2").replace("/one", "/two");
    // Not even YAML without its other half.
    let (first, second) = new.split_at(new.find("pathPrefix").unwrap_or(0));
    let mut file = std::fs::File::create(gateway.file())?;
    file.write_all(first.as_bytes())?;
    file.sync_all()?;
    assert_eq!(status(&gateway, "/one").await?, 200);
    file.write_all(second.as_bytes())?;
    drop(file);
    gateway.runs_version(2).await?;
    assert_eq!(status(&gateway, "/two").await?, 200);
    // Half a file for longer: refused, with the running one in force, until the rest comes.
    let half = new.replace("configVersion: 2", "configVersion: 3");
    let (first, second) = half.split_at(half.find("pathPrefix").unwrap_or(0));
    let mut file = std::fs::File::create(gateway.file())?;
    file.write_all(first.as_bytes())?;
    let refused = [("outcome", "refused")];
    gateway.metric_until("tidegate_config_applies_total", &refused, |n| n > 0.5).await?;
    assert_eq!(status(&gateway, "/two").await?, 200);
    file.write_all(second.as_bytes())?;
    drop(file);
    gateway.runs_version(3).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_removed_and_made_again_is_seen() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let text = std::fs::read_to_string(gateway.file())?;
    std::fs::remove_file(gateway.file())?;
    let refused = [("outcome", "refused")];
    gateway.metric_until("tidegate_config_applies_total", &refused, |n| n > 0.5).await?;
    assert_eq!(status(&gateway, "/one").await?, 200);
    std::fs::write(gateway.file(), text.replace("configVersion: 1", "configVersion: 2"))?;
    gateway.runs_version(2).await?;
    // At once, as some editors do.
    std::fs::remove_file(gateway.file())?;
    std::fs::write(gateway.file(), text.replace("configVersion: 1", "configVersion: 3"))?;
    gateway.runs_version(3).await?;
    Ok(())
}

/// Kubernetes replaces a `ConfigMap` by moving the link `..data` to a new folder; the file's own
/// link stays what it is.
#[tokio::test]
async fn a_link_on_the_way_that_is_moved_is_seen() -> Outcome {
    use std::os::unix::fs::symlink;
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let text = std::fs::read_to_string(gateway.file())?;
    let folder = gateway.file().parent().unwrap_or(gateway.file()).to_owned();
    let mount = |version: u32| {
        let data = format!("..version-{version}");
        std::fs::create_dir(folder.join(&data))?;
        let text = text.replace("configVersion: 1", &format!("configVersion: {version}"));
        std::fs::write(folder.join(&data).join("gateway.yaml"), text)?;
        symlink(&data, folder.join("..data_tmp"))?;
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data"))
    };
    mount(2)?;
    symlink("..data/gateway.yaml", folder.join("draft"))?;
    std::fs::rename(folder.join("draft"), gateway.file())?;
    gateway.runs_version(2).await?;
    for version in 3..6 {
        mount(version)?;
        std::fs::remove_dir_all(folder.join(format!("..version-{}", version - 1)))?;
        gateway.runs_version(version.into()).await?;
    }
    assert_eq!(status(&gateway, "/one").await?, 200);
    Ok(())
}

/// SIGHUP reads everything again, the secrets beside the file too.
#[tokio::test]
async fn a_hangup_reads_secrets_again() -> Outcome {
    let origin = Origin::start("api").await?;
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("key");
    std::fs::write(&secret, "first-0123456789abcdef\n")?;
    let config = format!(
        "{}apiKeys: [{{id: partner, key: \"${{file:{}}}\"}}]\n\
         routes:\n  - {{name: all, match: {{pathPrefix: /}}, upstream: {{service: api}}, \
         policies: {{auth: required}}}}\n",
        api(&[origin.address()]),
        secret.display()
    );
    let gateway = gateway(config).start().await?;
    let with = |key: &str| Request::get("/").header("x-api-key", key);
    gateway.send(&with("first-0123456789abcdef")).await?.expect(200)?;
    std::fs::write(&secret, "second-0123456789abcdef\n")?;
    gateway.send(&with("second-0123456789abcdef")).await?.expect(401)?;
    gateway.signal(Signal::HUP)?;
    let applied = [("outcome", "applied")];
    gateway.metric_until("tidegate_config_applies_total", &applied, |n| n > 1.5).await?;
    gateway.send(&with("second-0123456789abcdef")).await?.expect(200)?;
    gateway.send(&with("first-0123456789abcdef")).await?.expect(401)?;
    Ok(())
}

/// R184: a file that is not good changes nothing, and says so.
#[tokio::test]
async fn a_bad_file_leaves_the_running_configuration() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let refused = [("outcome", "refused")];
    let bad = [
        only(&origin, 2, "/two").replace("pathPrefix", "pathPrefx"),
        only(&origin, 2, "/two").replace("service: api}", "service: apy}"),
        "routes: [unfinished".to_owned(),
    ];
    for (count, text) in (1_u32..).zip(&bad) {
        gateway.write_config(text)?;
        let enough = move |n: f64| n > f64::from(count) - 0.5;
        gateway.metric_until("tidegate_config_applies_total", &refused, enough).await?;
        assert_eq!((status(&gateway, "/one").await?, status(&gateway, "/two").await?), (200, 404));
        assert_eq!(gateway.config_version().await?["configVersion"], 1);
        assert!(gateway.metric("tidegate_config_last_apply_successful", &[]).await? < 0.5);
    }
    gateway.log_says("configuration refused").await?;
    let log = gateway.log();
    assert!(log.contains("pathPrefx") && log.contains("apy"), "the log names what is wrong");

    gateway.write_config(&only(&origin, 3, "/two"))?;
    gateway.runs_version(3).await?;
    assert!(gateway.metric("tidegate_config_last_apply_successful", &[]).await? > 0.5);
    Ok(())
}

/// A request keeps the configuration that it began with.
#[tokio::test]
async fn requests_in_flight_are_not_disturbed() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let address = gateway.address();
    let in_flight = tokio::spawn(async move {
        send(address, &Request::get("/one/hold/it").header("x-request-id", "in-flight")).await
    });
    origin.arrived(1).await?;
    gateway.write_config(&only(&origin, 2, "/two"))?;
    gateway.runs_version(2).await?;
    assert_eq!(status(&gateway, "/one").await?, 404);
    assert!(!in_flight.is_finished());
    origin.release("it");
    in_flight.await??.expect(200)?;
    assert_eq!(gateway.access_line("in-flight").await?["configVersion"], 1);
    Ok(())
}

#[tokio::test]
async fn kept_connections_meet_the_new_configuration() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    connection.request(&Request::get("/one")).await?.expect(200)?;
    gateway.write_config(&only(&origin, 2, "/two"))?;
    gateway.runs_version(2).await?;
    connection.request(&Request::get("/one")).await?.expect(404)?;
    connection.request(&Request::get("/two")).await?.expect(200)?;
    Ok(())
}

/// Nobody gets a fresh budget by waiting for a reload.
#[tokio::test]
async fn used_up_limits_stay_used_up() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = |version: u64| {
        format!(
            "configVersion: {version}\n{}rateLimits:\n  burst: {{algorithm: token_bucket, \
             capacity: 2, refillPerSecond: 0.001, key: [clientIp]}}\n{}",
            api(&[origin.address()]),
            open_route("rateLimit: burst")
        )
    };
    let gateway = gateway(config(1)).start().await?;
    for expected in [200, 200, 429] {
        assert_eq!(status(&gateway, "/").await?, expected);
    }
    gateway.write_config(&config(2))?;
    gateway.runs_version(2).await?;
    assert_eq!(status(&gateway, "/").await?, 429);
    Ok(())
}

/// What a reload cannot change is said, not ignored.
#[tokio::test]
async fn a_new_address_waits_for_a_restart_and_is_named() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(only(&origin, 1, "/one")).start().await?;
    let other = tidegate_kit::ports::free()?;
    let text = std::fs::read_to_string(gateway.file())?
        .replace(&gateway.address().to_string(), &format!("127.0.0.1:{other}"))
        .replace("configVersion: 1", "configVersion: 2");
    gateway.write_file(&text)?;
    gateway.runs_version(2).await?;
    gateway.log_says("listeners[].address").await?;
    assert_eq!(status(&gateway, "/one").await?, 200);
    Ok(())
}
