//! The servers: where their programs are, which versions, how they are started.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::{Core, Cores};
use crate::report::everything_said;

/// Where Debian puts servers, which is not in everybody's PATH.
const SERVERS: &str = "/usr/sbin";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The yardstick: a proxy on Pingora that does nothing else.
    Bare,
    /// The gateway.
    Tidegate,
    /// NGINX.
    Nginx,
    /// `HAProxy`.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Traefik.
    Traefik,
    /// Caddy.
    Caddy,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The gateway.
    pub gateway: PathBuf,
    /// The yardstick.
    pub bare_proxy: PathBuf,
    /// The origin.
    pub origin: PathBuf,
    /// What `make setup-peers` filled.
    pub peers: PathBuf,
}

impl Programs {
    /// A program in PATH, where Debian puts servers, or where `make setup-peers` put it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.push(SERVERS.into());
        folders.push(self.peers.join("bin"));
        folders.push(self.peers.join("debian/usr/bin"));
        folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
    }

    /// Folder of NGINX's modules that `make setup-peers` unpacked; none where it could not.
    #[must_use]
    pub fn nginx_modules(&self) -> Option<PathBuf> {
        let folder = self.peers.join("debian/usr/lib/nginx/modules");
        folder.join("ngx_http_lua_module.so").is_file().then_some(folder)
    }

    /// Folder of NGINX's Lua libraries.
    #[must_use]
    pub fn nginx_lua(&self) -> PathBuf {
        self.peers.join("debian/usr/share/lua/5.1")
    }

    /// Has a command find the libraries of what was unpacked, not installed.
    pub fn with_libraries(&self, command: &mut Command) {
        let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
            .map(|folder| self.peers.join("debian").join(folder));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("LD_LIBRARY_PATH", path);
        }
    }
}

impl Server {
    /// Every server, the yardstick first.
    pub const ALL: [Self; 7] = [
        Self::Bare,
        Self::Tidegate,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::Traefik,
        Self::Caddy,
    ];

    /// Its name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Tidegate => "tidegate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
        }
    }

    /// Its program; none where it is missing.
    #[must_use]
    pub fn program(self, programs: &Programs) -> Option<PathBuf> {
        match self {
            Self::Bare => Some(programs.bare_proxy.clone()).filter(|program| program.is_file()),
            Self::Tidegate => Some(programs.gateway.clone()).filter(|program| program.is_file()),
            _ => programs.find(self.name()),
        }
    }

    /// Its version.
    #[must_use]
    pub fn version(self, programs: &Programs) -> String {
        let argument = match self {
            Self::Bare => return pingora(),
            Self::Nginx | Self::Haproxy => "-v",
            Self::Traefik | Self::Caddy => "version",
            Self::Tidegate | Self::Envoy => "--version",
        };
        let words = self.program(programs).map(|program| everything_said(&program, argument));
        words.and_then(|words| version(&words)).unwrap_or_else(|| "unknown".to_owned())
    }

    /// The command that runs it in the foreground with the configuration in `folder`, on the
    /// processor of what is measured, with one thread for the work.
    #[must_use]
    pub fn command(
        self,
        cores: Cores,
        programs: &Programs,
        program: &Path,
        folder: &Path,
    ) -> Command {
        let mut command = cores.command(Core::Measured, program);
        let file = |name: &str| folder.join(name);
        command.current_dir(folder);
        match self {
            // Its arguments are its configuration.
            Self::Bare => {}
            Self::Tidegate => {
                command.arg("run").arg(file("tidegate.yaml"));
            }
            Self::Nginx => {
                command.arg("-p").arg(folder).arg("-c").arg(file("nginx.conf"));
                programs.with_libraries(&mut command);
            }
            Self::Haproxy => {
                // Without `-db` it would go to the background.
                command.arg("-db").arg("-f").arg(file("haproxy.cfg"));
            }
            Self::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart"]);
                command.args(["--log-level", "error", "-c"]).arg(file("envoy.yaml"));
            }
            Self::Traefik => {
                command.arg(format!("--configFile={}", file("static.yaml").display()));
                command.env("GOMAXPROCS", "1");
            }
            Self::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command.arg(file("Caddyfile")).env("GOMAXPROCS", "1");
                command.env("HOME", folder).env("XDG_DATA_HOME", folder);
                command.env("XDG_CONFIG_HOME", folder);
            }
        }
        command
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of Pingora that the yardstick is built with.
fn pingora() -> String {
    let manifest = include_str!("../../Cargo.toml");
    let line = manifest.lines().find_map(|line| line.strip_prefix("pingora = { version = \"="));
    let version = line.and_then(|line| line.split('"').next()).unwrap_or("unknown");
    format!("Pingora {version}")
}

/// The first word that looks like a version.
fn version(words: &str) -> Option<String> {
    let mut words = words.split(|sign: char| sign.is_whitespace() || sign == '/');
    let looks_right = |word: &&str| {
        let rest = word.strip_prefix('v').unwrap_or(word);
        rest.starts_with(|sign: char| sign.is_ascii_digit()) && rest.contains('.')
    };
    words.find(looks_right).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_servers_say() {
        for (words, wanted) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://x.org", "2.6.12-1+deb12u4"),
            ("\n/opt/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("Version:      3.7.15\nCodename:", "3.7.15"),
            ("v2.11.7 h1:yj0=", "v2.11.7"),
        ] {
            assert_eq!(version(words).as_deref(), Some(wanted));
        }
        assert_eq!(version("no version"), None);
        assert!(pingora().starts_with("Pingora 0."), "{}", pingora());
    }
}
