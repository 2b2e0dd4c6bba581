// Verifies Tidegate's signature over identity headers (RFC 9421, HMAC-SHA256).
//
// Needs the standard library and nothing else. Call Verify before you trust any identity header.
// As a program it reads requests as JSON, one on each line, and writes "ok" or why not.
package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Exactly what the gateway writes; whatever else could be a signature is not the gateway's.
var (
	inputForm = regexp.MustCompile(`^tidegate=(\("@method" "@path" "@query" "x-request-id"` +
		`((?: "[^"\\]+")*)\);created=([0-9]{1,12});keyid="([A-Za-z0-9._-]{1,64})"` +
		`;alg="hmac-sha256")$`)
	signatureForm = regexp.MustCompile(`^tidegate=:([A-Za-z0-9+/]{43}=):$`)
	nameForm      = regexp.MustCompile(`"([^"]+)"`)
)

const futureSeconds = 5

// Request is what a service has received. Path and Query are those of the request line, not
// decoded (r.URL.EscapedPath() is not enough: split r.RequestURI at the first "?"). Headers has
// every field as received. Keys maps key ids to secrets; during rotation it has two.
// Stripped (headers that clients cannot send) and MaxAge (seconds) are those that "tidegate headers"
// prints. Now is Unix seconds.
type Request struct {
	Method   string
	Path     string
	Query    *string
	Headers  [][2]string
	Now      int64
	Keys     map[string]string
	Stripped []string
	MaxAge   int64
}

// Some servers cannot tell "_" from "-", so neither does this.
func fold(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// Verify returns nil where the request is the gateway's, else why it is not.
func Verify(r Request) error {
	received := map[string][]string{}
	for _, field := range r.Headers {
		name := fold(field[0])
		received[name] = append(received[name], strings.Trim(field[1], " \t"))
	}
	if len(received["signature-input"]) != 1 || len(received["signature"]) != 1 {
		return errors.New("not signed")
	}
	parsed := inputForm.FindStringSubmatch(received["signature-input"][0])
	tag := signatureForm.FindStringSubmatch(received["signature"][0])
	if parsed == nil || tag == nil {
		return errors.New("not a signature of the gateway")
	}
	parameters, keyID := parsed[1], parsed[4]
	covered := []string{"x-request-id"}
	for _, found := range nameForm.FindAllStringSubmatch(parsed[2], -1) {
		covered = append(covered, found[1])
	}
	isCovered := map[string]bool{}
	for _, name := range covered {
		isCovered[fold(name)] = true
	}
	for _, name := range r.Stripped {
		if len(received[fold(name)]) > 0 && !isCovered[fold(name)] {
			return errors.New("a header of identity is not signed")
		}
	}
	if len(isCovered) < len(covered) {
		return errors.New("a signed header is missing or repeated")
	}
	for name := range isCovered {
		if len(received[name]) != 1 {
			return errors.New("a signed header is missing or repeated")
		}
	}
	created, err := strconv.ParseInt(parsed[3], 10, 64)
	if err != nil {
		return errors.New("not a signature of the gateway")
	}
	if r.Now-created > r.MaxAge {
		return errors.New("too old")
	}
	if created-r.Now > futureSeconds {
		return errors.New("from the future")
	}
	secret, known := r.Keys[keyID]
	if !known {
		return errors.New("unknown key")
	}
	query := ""
	if r.Query != nil {
		query = *r.Query
	}
	var base strings.Builder
	fmt.Fprintf(&base, "\"@method\": %s\n\"@path\": %s\n\"@query\": ?%s\n", r.Method, r.Path, query)
	for _, name := range covered {
		fmt.Fprintf(&base, "%q: %s\n", name, received[fold(name)][0])
	}
	fmt.Fprintf(&base, "\"@signature-params\": %s", parameters)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(base.String()))
	claimed, err := base64.StdEncoding.DecodeString(tag[1])
	if err != nil {
		return errors.New("not a signature of the gateway")
	}
	if !hmac.Equal(mac.Sum(nil), claimed) {
		return errors.New("wrong signature")
	}
	return nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var request Request
		if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
			fmt.Println("not JSON")
			continue
		}
		if why := Verify(request); why != nil {
			fmt.Println(why)
			continue
		}
		fmt.Println("ok")
	}
}
