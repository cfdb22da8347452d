using System.Globalization;

namespace Rollcall.Sandbox;

/// <summary>
/// Faults by name. One is written <c>name[=value][:collection][@n|@n-m|@n+]</c>: <c>429@2</c> answers the second roster request after it was
/// set with 429, <c>clamp=500:users</c> concerns users alone, <c>500</c> concerns every request. Several are joined by commas.
/// Collection names are the first path segment (<c>users</c>, <c>classes</c>), that of single records alone (<c>users/{id}</c>), or
/// <c>applications</c>.
/// </summary>
public sealed class SandboxFaults
{
    private static readonly Dictionary<string, string> Known = new(StringComparer.Ordinal)
    {
        ["no-totals"] = "no x-total-count and no x-count header",
        ["clamp"] = "=N: a greater limit is cut to N without a word",
        ["short-page"] = "half of the rows asked for, with the right total",
        ["429"] = "too many requests, Retry-After: 1",
        ["429-no-retry-after"] = "too many requests, without Retry-After",
        ["429-date"] = "too many requests, Retry-After as a date a second ahead",
        ["429-long"] = "too many requests, Retry-After: 7200",
        ["408"] = "request time-out",
        ["redirect"] = "302 to another host",
        ["401"] = "unauthorized although the credentials are right",
        ["404"] = "not found although it exists",
        ["500"] = "internal server error",
        ["502"] = "bad gateway",
        ["503"] = "service unavailable",
        ["500-at"] = "=N: internal server error at the Nth request",
        ["502-over"] = "=N: bad gateway where limit is greater than N",
        ["drop-connection"] = "the connection breaks in the middle of the body",
        ["drop-connection-at"] = "=N: the connection breaks in the Nth request",
        ["half-close"] = "the server's side of the connection is closed in the middle of the body, and its ear stays open",
        ["stall"] = "=ms: in the middle of the body nothing comes for so long",
        ["oversized"] = "a body of 300 MB, compressed to little",
        ["huge-record"] = "a record of 40 MB",
        ["endless"] = "records with new ids without end, without totals",
        ["clock-behind"] = "=N: the server's clock is N minutes behind; signed requests are judged by it",
        ["refuse-sort"] = "400 where sort is asked for",
        ["refuse-filter"] = "400 where a filter is asked for",
        ["refuse-limit"] = "=N: 400 where limit is greater than N",
        ["unstable-order"] = "without sort, another order in each answer",
        ["never-empty"] = "past the end the last page comes again, without totals",
        ["html"] = "200 with a page of HTML",
        ["no-array"] = "200 with an error object and no array",
        ["bare-array"] = "the array alone, without an envelope",
        ["endpoint-envelope"] = "the envelope's key is the last part of the path: students, terms",
        ["cut-json"] = "the body ends in the middle of a record, though the answer is complete for HTTP",
        ["empty-users"] = "users (students, teachers) empty, total 0",
        ["empty-orgs"] = "orgs (schools) empty, total 0",
        ["empty-demographics"] = "demographics empty, total 0",
        ["total-changes"] = "the total grows by one from page to page",
        ["total-too-high"] = "the total is one more than there are rows",
        ["total-too-low"] = "the total is one less than there are rows",
        ["total-at-page-end"] = "the total leaves out what stands on the last page, so that it is reached at the end of a full one",
        ["total-of-page"] = "the total counts the rows of the page alone",
        ["with-warning"] = "a statusInfoSet beside the records, as for an unknown sort field",
        ["count-too-high"] = "x-count is one more than there are rows on the page",
        ["perm-rev"] = "x-perm-rev, the same until data change",
        ["revision-changes"] = "x-perm-rev, another one in each answer",
        ["link"] = "Link header with rel=next",
        ["masked"] = "x-obfuscated says that the values are masked",
        ["ignore-fields"] = "a selection of fields is not heeded",
        ["refuse-fields"] = "400 where a selection of fields is asked for",
        ["ignore-offset"] = "offset is taken as 0",
        ["offset-rounds-up"] = "an offset counts as the next whole number of pages",
        ["shift-rows"] = "from the second page on, rows stand one place later: one comes twice, one never",
        ["row-vanishes"] = "from the second page on, a row of the first page is gone, and all that follow stand one place earlier",
        ["duplicate-rows"] = "every 100th row comes twice on its page, the second time out of date",
        ["disabled-403"] = "403, the district switched the application's API off",
        ["no-demographics-403"] = "403 for demographics",
        ["no-classes-403"] = "403 for classes and enrollments",
        ["rotate-bearer-at"] = "=N: with the Nth request the tenant's bearer changes; /applications knows the new one",
        ["old-form"] = "applications in their old form, without enabled, tenant_status and version",
        ["malformed-user"] = "the third user has wrong types everywhere and no family name",
        ["no-sourcedid"] = "the third user has no sourcedId",
        ["null-row"] = "null stands in the place of the third user",
        ["null-last-row"] = "null stands in the place of a collection's last record",
        ["null-text"] = "the third user has null where others have empty texts",
        ["token-basic-plain"] = "/token takes key and secret by Basic as they are, not percent-encoded",
        ["token-in-body"] = "/token takes key and secret in a form's body alone",
        ["token-in-query"] = "/token takes key and secret in the query alone",
        ["token-as-json"] = "/token takes key and secret as JSON alone",
        ["token-refuses-scope"] = "/token refuses every request that names a scope",
        ["token-needs-scope"] = "/token refuses a request without a scope",
        ["token-core-only"] = "/token grants no demographics, which then answer 403",
        ["token-life"] = "=N: a token lives N seconds, and is refused afterwards",
        ["token-life-unstated"] = "/token states neither life nor type",
        ["token-odd-types"] = "/token states the life as a text and the type in capitals",
        ["token-elsewhere"] = "/token is /campus/oauth2/token?appName=roster",
        ["token-refused"] = "/token refuses key and secret",
        ["token-204"] = "/token answers 204 without a token",
        ["token-500"] = "/token answers 500",
        ["rotate-token-at"] = "=N: with the Nth request the access token is withdrawn; /token hands out a new one",
        ["consent-refused"] = "signing in: the person does not allow it",
        ["invalid-scope"] = "signing in: the error invalid_scope comes back",
        ["unauthorized-client"] = "signing in: the error unauthorized_client comes back",
        ["server-error"] = "signing in: the error server_error comes back",
        ["code-expired"] = "signing in: codes are older than five minutes",
        ["wrong-tenant"] = "signing in: people are of tenant 9999",
        ["unknown-person"] = "signing in: SourcedId and LoginId that no roster has",
        ["blank-sourcedid"] = "signing in: a blank SourcedId",
        ["ids-as-text"] = "signing in: numbers come as texts",
        ["other-user"] = "signing in: my/info and my/profileinfo speak of somebody else than the id_token",
        ["other-sub"] = "signing in: the id_token's sub is another number than the UserId, in my/profileinfo too",
        ["no-user"] = "signing in: my/info has no UserId",
        ["no-email"] = "signing in: no e-mail address",
        ["half-a-character"] = "signing in: the e-mail address holds half of a character",
        ["nul-sourcedid"] = "signing in: the SourcedId ends with U+0000",
        ["no-kid"] = "signing in: the id_token names no key",
        ["same-kid-new-key"] = "signing in: the key is another one under the same name",
        ["unknown-kid"] = "signing in: the id_token's key is not listed",
        ["odd-keys"] = "signing in: the list of keys is none",
        ["odd-key"] = "signing in: the listed key cannot be read",
        ["keys-stall"] = "signing in, =ms: in the middle of the list of keys nothing comes for so long",
        ["info-stall"] = "signing in, =ms: in the middle of my/info nothing comes for so long",
        ["wrong-audience"] = "signing in: the id_token is for another application",
        ["wrong-issuer"] = "signing in: the id_token is of another issuer",
        ["withdrawn-key"] = "signing in: the id_token's key is listed no more",
        ["wrong-nonce"] = "signing in: another nonce comes back",
        ["no-nonce"] = "signing in: no nonce comes back",
        ["id-token-expired"] = "signing in: the id_token has expired",
        ["alg-none"] = "signing in: the id_token is not signed",
        ["alg-hs256"] = "signing in: the id_token is signed with the public key as a shared secret",
        ["forged-signature"] = "signing in: the id_token is signed with another key",
        ["slow"] = "=ms: each answer waits so long",
    };

    /// <summary>Behind the name of a collection: its single records alone.</summary>
    private const string Single = "/{id}";

    private static readonly string[] NeedValue =
    [
        "clamp",
        "500-at",
        "502-over",
        "refuse-limit",
        "drop-connection-at",
        "rotate-bearer-at",
        "rotate-token-at",
        "token-life",
        "clock-behind",
        "stall",
        "keys-stall",
        "info-stall",
        "slow",
    ];

    private readonly Lock _gate = new();
    private List<Fault> _faults = [];

    /// <summary>Names and what they do.</summary>
    public static IReadOnlyDictionary<string, string> Names => Known;

    /// <summary>The faults that are on, as they were written.</summary>
    public IReadOnlyList<string> Active
    {
        get
        {
            lock (_gate)
            {
                return [.. _faults.Select(fault => fault.Text)];
            }
        }
    }

    /// <summary>These faults and no others; counting starts anew. An empty text switches all off.</summary>
    /// <exception cref="ArgumentException">An unknown name, or a value that is missing or no number. Nothing changes then.</exception>
    public void Set(string faults)
    {
        var parsed = Parse(faults);
        lock (_gate)
        {
            _faults = parsed;
        }
    }

    /// <summary>These faults too.</summary>
    /// <exception cref="ArgumentException">As for <see cref="Set"/>.</exception>
    public void Add(string faults)
    {
        var parsed = Parse(faults);
        lock (_gate)
        {
            _faults = [.. _faults, .. parsed];
        }
    }

    /// <summary>All off.</summary>
    public void Clear() => Set("");

    /// <summary>Counts a request for a collection and says which faults it meets, with their values.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="single">One record of it is asked for.</param>
    internal Dictionary<string, int> Meet(string collection, bool single = false)
    {
        var met = new Dictionary<string, int>(StringComparer.Ordinal);
        lock (_gate)
        {
            foreach (var fault in _faults)
            {
                if (
                    fault.Collection.Length == 0
                        ? Concerns(fault.Name, collection)
                        : single && fault.Collection == collection + Single || fault.Collection == collection
                )
                {
                    fault.Count++;
                    if (fault.Count >= fault.From && fault.Count <= fault.To)
                    {
                        met[fault.Name] = fault.Value;
                    }
                }
            }
        }

        return met;
    }

    /// <summary>Whether a fault that names no collection is about one.</summary>
    private static bool Concerns(string fault, string collection) =>
        collection == "token" ? fault.StartsWith("token-", StringComparison.Ordinal) : collection != "applications";

    private static List<Fault> Parse(string faults) =>
        [.. faults.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(ParseOne)];

    private static Fault ParseOne(string text)
    {
        var rest = text;
        var from = 1;
        var to = int.MaxValue;
        if (rest.Split('@') is [var before, var range])
        {
            rest = before;
            var bounds = range.Split('-');
            from = Number(bounds[0].TrimEnd('+'), text);
            to =
                range.EndsWith('+') ? int.MaxValue
                : bounds.Length == 2 ? Number(bounds[1], text)
                : from;
        }

        var collection = "";
        if (rest.Split(':') is [var name, var scope])
        {
            (rest, collection) = (name, scope);
        }

        var value = 0;
        var parts = rest.Split('=');
        rest = parts[0];
        if (!Known.ContainsKey(rest))
        {
            throw new ArgumentException($"There is no fault '{rest}'. Known: {string.Join(", ", Known.Keys)}.", nameof(text));
        }

        if (parts.Length == 2)
        {
            value = Number(parts[1], text);
        }
        else if (NeedValue.Contains(rest, StringComparer.Ordinal))
        {
            throw new ArgumentException($"The fault '{rest}' needs a number: {rest}=N.", nameof(text));
        }

        var whole = collection.EndsWith(Single, StringComparison.Ordinal) ? collection[..^Single.Length] : collection;
        if (collection.Length > 0 && collection != "applications" && !Serving.Catalog.Envelopes.ContainsKey(whole))
        {
            throw new ArgumentException($"'{collection}' in '{text}' is no collection.", nameof(text));
        }

        // "at N" is only another way to write "@N".
        if (rest.EndsWith("-at", StringComparison.Ordinal))
        {
            (from, to) = (value, value);
        }

        return new Fault(text, rest, collection, value, from, to);
    }

    private static int Number(string digits, string text) =>
        int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw new ArgumentException($"'{digits}' in the fault '{text}' is no number.", nameof(text));

    private sealed class Fault(string text, string name, string collection, int value, int from, int to)
    {
        public string Text => text;
        public string Name => name;
        public string Collection => collection;
        public int Value => value;
        public int From => from;
        public int To => to;
        public int Count { get; set; }
    }
}
