// Verifies Tidegate's signature over identity headers (RFC 9421, HMAC-SHA256).
//
// Needs Java 17 and nothing else. Call verify before you trust any identity header. As a program
// (java VerifyIdentity.java) it reads requests as JSON, one on each line, and writes "ok" or why
// not, line by line.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public final class VerifyIdentity {
    // Exactly what the gateway writes; whatever else could be a signature is not the gateway's.
    private static final Pattern INPUT = Pattern.compile(
            "tidegate=(\\(\"@method\" \"@path\" \"@query\" \"x-request-id\""
                    + "((?: \"[^\"\\\\]+\")*)\\);created=([0-9]{1,12})"
                    + ";keyid=\"([A-Za-z0-9._-]{1,64})\";alg=\"hmac-sha256\")");
    private static final Pattern SIGNATURE = Pattern.compile("tidegate=:([A-Za-z0-9+/]{43}=):");
    private static final Pattern NAME = Pattern.compile("\"([^\"]+)\"");
    private static final long FUTURE_SECONDS = 5;

    private VerifyIdentity() {}

    /** A header as received. */
    public record Header(String name, String value) {}

    /**
     * A request as received. Path and query are those of the request line, not decoded; query is
     * without "?", null where there is none.
     */
    public record Request(String method, String path, String query, List<Header> headers) {}

    /**
     * Returns null where the request is the gateway's, else why it is not.
     *
     * @param now Unix seconds
     * @param keys secrets by key id; during rotation there are two
     * @param stripped the headers that clients cannot send, which "tidegate headers" prints
     * @param maxAge the age in seconds that it prints
     */
    public static String verify(
            Request request, long now, Map<String, String> keys, List<String> stripped, long maxAge)
            throws GeneralSecurityException {
        Map<String, List<String>> received = new HashMap<>();
        for (Header header : request.headers()) {
            received.computeIfAbsent(fold(header.name()), name -> new ArrayList<>())
                    .add(header.value().replaceAll("^[ \t]+|[ \t]+$", ""));
        }
        String input = one(received, "signature-input");
        String signature = one(received, "signature");
        if (input == null || signature == null) {
            return "not signed";
        }
        Matcher parsed = INPUT.matcher(input);
        Matcher tag = SIGNATURE.matcher(signature);
        if (!parsed.matches() || !tag.matches()) {
            return "not a signature of the gateway";
        }
        List<String> covered = new ArrayList<>(List.of("x-request-id"));
        Matcher names = NAME.matcher(parsed.group(2));
        while (names.find()) {
            covered.add(names.group(1));
        }
        LinkedHashSet<String> folded = new LinkedHashSet<>();
        covered.forEach(name -> folded.add(fold(name)));
        for (String name : stripped) {
            if (received.containsKey(fold(name)) && !folded.contains(fold(name))) {
                return "a header of identity is not signed";
            }
        }
        boolean isOne = folded.stream().allMatch(name -> one(received, name) != null);
        if (!isOne || folded.size() < covered.size()) {
            return "a signed header is missing or repeated";
        }
        long age = now - Long.parseLong(parsed.group(3));
        if (age > maxAge) {
            return "too old";
        }
        if (age < -FUTURE_SECONDS) {
            return "from the future";
        }
        String secret = keys.get(parsed.group(4));
        if (secret == null) {
            return "unknown key";
        }
        StringBuilder base = new StringBuilder();
        base.append("\"@method\": ").append(request.method()).append('\n');
        base.append("\"@path\": ").append(request.path()).append('\n');
        String query = request.query() == null ? "" : request.query();
        base.append("\"@query\": ?").append(query).append('\n');
        for (String name : covered) {
            String value = one(received, fold(name));
            base.append('"').append(name).append("\": ").append(value).append('\n');
        }
        base.append("\"@signature-params\": ").append(parsed.group(1));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(secret.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        byte[] expected = mac.doFinal(base.toString().getBytes(StandardCharsets.UTF_8));
        byte[] claimed = Base64.getDecoder().decode(tag.group(1));
        return MessageDigest.isEqual(expected, claimed) ? null : "wrong signature";
    }

    /** Some servers cannot tell "_" from "-", so neither does this. */
    private static String fold(String name) {
        return name.toLowerCase(Locale.ROOT).replace('_', '-');
    }

    private static String one(Map<String, List<String>> received, String name) {
        List<String> values = received.getOrDefault(name, List.of());
        return values.size() == 1 ? values.get(0) : null;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<?, ?> asked = (Map<?, ?>) new Json(line).value();
            List<Header> headers = new ArrayList<>();
            for (Object header : (List<?>) asked.get("headers")) {
                List<?> pair = (List<?>) header;
                headers.add(new Header((String) pair.get(0), (String) pair.get(1)));
            }
            Map<String, String> keys = new HashMap<>();
            ((Map<?, ?>) asked.get("keys")).forEach((id, key) -> keys.put((String) id, (String) key));
            List<String> stripped = new ArrayList<>();
            ((List<?>) asked.get("stripped")).forEach(name -> stripped.add((String) name));
            Request request = new Request((String) asked.get("method"), (String) asked.get("path"),
                    (String) asked.get("query"), headers);
            long now = (Long) asked.get("now");
            String why = verify(request, now, keys, stripped, (Long) asked.get("maxAge"));
            out.println(why == null ? "ok" : why);
        }
    }

    /** Just enough of JSON for main, which Java has no reader for: whole numbers only. */
    private static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        Object value() {
            switch (peek()) {
                case '{' -> {
                    Map<String, Object> object = new HashMap<>();
                    for (at++; peek() != '}'; skip(',')) {
                        String name = string();
                        skip(':');
                        object.put(name, value());
                    }
                    at++;
                    return object;
                }
                case '[' -> {
                    List<Object> list = new ArrayList<>();
                    for (at++; peek() != ']'; skip(',')) {
                        list.add(value());
                    }
                    at++;
                    return list;
                }
                case '"' -> {
                    return string();
                }
                case 'n' -> {
                    at += 4;
                    return null;
                }
                default -> {
                    int from = at;
                    while (at < text.length() && "-0123456789".indexOf(text.charAt(at)) >= 0) {
                        at++;
                    }
                    return Long.parseLong(text.substring(from, at));
                }
            }
        }

        private String string() {
            StringBuilder string = new StringBuilder();
            peek();
            for (at++; text.charAt(at) != '"'; at++) {
                char c = text.charAt(at);
                if (c != '\\') {
                    string.append(c);
                    continue;
                }
                c = text.charAt(++at);
                if (c == 'u') {
                    string.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                    at += 4;
                } else {
                    int known = "nrtbf".indexOf(c);
                    string.append(known < 0 ? c : "\n\r\t\b\f".charAt(known));
                }
            }
            at++;
            return string.toString();
        }

        private char peek() {
            while (Character.isWhitespace(text.charAt(at))) {
                at++;
            }
            return text.charAt(at);
        }

        private void skip(char c) {
            if (peek() == c) {
                at++;
            }
        }
    }
}
