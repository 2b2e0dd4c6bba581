#!/usr/bin/env bash
# The package, for real: built, installed on this machine, upgraded, purged. Leaves the machine as
# it was, also when it fails. Needs root, Debian, and that no Tidegate is installed here.
#
#   contrib/debian/test.sh            # DEB_PROFILE=release packs what is shipped
set -euo pipefail
cd "$(dirname "$0")/../.."
export DEB_PROFILE=${DEB_PROFILE:-dev}

fail() {
    echo "deb-test: $*" >&2
    exit 1
}
step() {
    echo "deb-test: $*"
}

[ "$(id -u)" -eq 0 ] || fail "needs root, to install a package"
command -v dpkg >/dev/null || fail "needs dpkg"
if dpkg-query --show tidegate >/dev/null 2>&1 || [ -e /etc/tidegate ] || [ -e /usr/bin/tidegate ]
then
    fail "Tidegate is installed here, or was; this test would take it away"
fi
had_user=$(getent passwd tidegate >/dev/null && echo yes || echo no)
scratch=$(mktemp -d)
clean_up() {
    dpkg --purge --force-all tidegate >/dev/null 2>&1 || true
    rm -rf "$scratch" /etc/tidegate /var/lib/tidegate /var/log/tidegate
    if [ "$had_user" = no ]; then
        userdel tidegate 2>/dev/null || true
        groupdel tidegate 2>/dev/null || true
    fi
}
trap clean_up EXIT

CONFIG=/etc/tidegate/gateway.yaml

# Two versions of the same program are enough to upgrade from one to the other.
build() {
    make --no-print-directory deb DEB_WORDS="--fast --deb-version $1" >"$scratch/build.log" 2>&1 || {
        cat "$scratch/build.log" >&2
        fail "no package of version $1"
    }
    ls -t .cache/deb/tidegate_"$1"_*.deb | head -1
}
step "building"
old=$(build 0.0.1-1)
new=$(build 0.0.2-1)
dpkg-deb --contents "$old" >"$scratch/contents"
for file in usr/bin/tidegate usr/lib/systemd/system/tidegate.service \
    usr/lib/systemd/system/tidegate.socket usr/lib/sysusers.d/tidegate.conf \
    usr/share/man/man1/tidegate.1.gz usr/share/man/man1/tidegate-check.1.gz \
    usr/share/bash-completion/completions/tidegate usr/share/zsh/vendor-completions/_tidegate \
    usr/share/fish/vendor_completions.d/tidegate.fish usr/share/doc/tidegate/copyright \
    usr/share/doc/tidegate/README.md usr/share/doc/tidegate/schema.json \
    usr/share/doc/tidegate/examples/quickstart.yaml; do
    grep -q " \./$file$" "$scratch/contents" || fail "the package lacks $file"
done
dpkg-deb --field "$old" Conffiles >/dev/null

step "installing"
dpkg -i "$old" >/dev/null
[ "$(dpkg-query --show --showformat='${Status} ${Version}' tidegate)" = \
    "install ok installed 0.0.1-1" ] || fail "it is not installed"
getent passwd tidegate >/dev/null || fail "no user"
[ "$(stat -c '%U:%G %a' /etc/tidegate)" = "root:tidegate 750" ] || fail "the folder's owner"
[ "$(stat -c '%U:%G %a' $CONFIG)" = "root:tidegate 640" ] || fail "the configuration's owner"
tidegate check --strict $CONFIG || fail "the example is not good"
# As the service does it: as its user, who may read the configuration and not write it.
setpriv --reuid=tidegate --regid=tidegate --clear-groups tidegate check $CONFIG >/dev/null ||
    fail "the service's user cannot read the configuration"
setpriv --reuid=tidegate --regid=tidegate --clear-groups test ! -w $CONFIG ||
    fail "the service's user may write the configuration"
tidegate --version >/dev/null
zcat /usr/share/man/man1/tidegate.1.gz | grep -q '^\.SH NAME' || fail "the man page is none"
bash -c 'source /usr/share/bash-completion/completions/tidegate; complete -p tidegate' >/dev/null ||
    fail "the completion for bash completes nothing"
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify --man=no tidegate.service || fail "the installed unit"
fi

step "the example answers"
mkdir -p "$scratch/run"
sed "s#/run/tidegate#$scratch/run#; s#/var/lib/tidegate#$scratch/run#;
    s#127.0.0.1:8080#127.0.0.1:0#" $CONFIG >"$scratch/gateway.yaml"
tidegate explain "$scratch/gateway.yaml" --host example.com --path / | grep -q greeting ||
    fail "the example takes no request"

step "upgrading, with a configuration that was changed"
echo "# changed here" >>$CONFIG
before=$(sha256sum $CONFIG)
dpkg -i "$new" >/dev/null
[ "$(dpkg-query --show --showformat='${Version}' tidegate)" = 0.0.2-1 ] || fail "no upgrade"
[ "$(sha256sum $CONFIG)" = "$before" ] || fail "the changed configuration was overwritten"
[ "$(stat -c '%U:%G %a' $CONFIG)" = "root:tidegate 640" ] || fail "its owner was changed"

# What the scripts do where systemd runs, told by a `systemctl` that only writes down what it is
# asked: in a mount namespace of its own, so that nobody else takes this machine for one.
asked() {
    local script=$1
    shift
    mkdir -p "$scratch/bin"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\necho "$@" >>%s/asked\ncase "$*" in\n%s\n%s\nesac\n' "$scratch" "$ANSWERS" \
        '*is-enabled*) echo enabled ;;' \
        >"$scratch/bin/systemctl"
    chmod +x "$scratch/bin/systemctl"
    : >"$scratch/asked"
    unshare --mount sh -ec 'mkdir -p /run/systemd; mount -t tmpfs none /run/systemd
        mkdir /run/systemd/system; script=$1; shift
        if [ -e /usr/sbin/policy-rc.d ]; then mount --bind /bin/true /usr/sbin/policy-rc.d; fi
        PATH='"$scratch/bin"':$PATH exec "$script" "$@"' sh \
        "/var/lib/dpkg/info/tidegate.$script" "$@" 2>"$scratch/said"
}
if unshare --mount true 2>/dev/null; then
    step "an upgrade reloads what runs, and stops nothing"
    ANSWERS='*is-active*) exit 0 ;;' asked postinst configure 0.0.1-1
    grep -qx 'reload tidegate.service' "$scratch/asked" || fail "no reload: $(cat "$scratch/asked")"
    ANSWERS='' asked prerm upgrade 0.0.3-1
    ! grep -Eq 'stop|start' "$scratch/asked" || fail "an upgrade stops: $(cat "$scratch/asked")"
    step "a reload that fails leaves what runs, and the package installed"
    ANSWERS='*is-active*) exit 0 ;; *reload*tidegate*) exit 1 ;;' asked postinst configure 0.0.1-1
    grep -q 'the version that ran goes on' "$scratch/said" || fail "nothing is said of it"
    ! grep -Eq '(^| )(re)?start ' "$scratch/asked" || fail "it restarts: $(cat "$scratch/asked")"
    step "a configuration that is not good starts nothing"
    cp -p $CONFIG "$scratch/kept"
    echo "nonsense: [" >>$CONFIG
    ANSWERS='*is-active*) exit 3 ;;' asked postinst configure "" >/dev/null
    ! grep -q start "$scratch/asked" || fail "it was started: $(cat "$scratch/asked")"
    grep -q 'not started' "$scratch/said" || fail "nothing is said of it"
    cp -p "$scratch/kept" $CONFIG
    ANSWERS='*is-active*) exit 3 ;;' asked postinst configure "" >/dev/null
    grep -q 'start tidegate.service' "$scratch/asked" || fail "a good one is not started"
else
    echo "deb-test: no mount namespaces here: the scripts were not run as under systemd" >&2
fi

if command -v lintian >/dev/null; then
    step "lintian"
    lintian --fail-on error --allow-root "$new" || fail "lintian"
fi

step "removing, then purging"
mkdir -p /var/log/tidegate && echo '{}' >/var/log/tidegate/access.log
dpkg --remove tidegate >/dev/null
[ -e $CONFIG ] || fail "removing took the configuration"
[ -e /var/log/tidegate/access.log ] || fail "removing took the logs"
dpkg --purge tidegate >/dev/null
for left in /etc/tidegate /var/lib/tidegate /var/log/tidegate /usr/bin/tidegate; do
    [ ! -e $left ] || fail "purging left $left"
done
step "all good"
