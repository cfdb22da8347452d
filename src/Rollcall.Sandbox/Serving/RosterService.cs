using System.Buffers;
using System.Globalization;
using System.IO.Compression;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Rollcall.Sandbox.Serving;

/// <summary>The collections: selection, paging and the body, which goes to the connection as it is made.</summary>
internal sealed class RosterService
{
    private const int MostRows = 10_000;
    private const int FlushAt = 48 * 1024;
    private int _revision;

    public async Task ServeAsync(
        HttpContext context,
        Catalog catalog,
        Dictionary<string, int> met,
        string[] path,
        string query,
        Errors errors
    )
    {
        var parameters = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in OAuthCheck.ParseQuery(query))
        {
            parameters[name] = value;
        }

        if (!TryNumber(parameters, "limit", 100, out var limit) || !TryNumber(parameters, "offset", 0, out var offset))
        {
            await errors.WriteAsync(context, 400, "invalid data", "limit and offset are whole numbers from 0");
            return;
        }

        if (await FailAsync(context, met, path[0], limit, errors))
        {
            return;
        }

        if (
            (met.ContainsKey("refuse-fields") && parameters.ContainsKey("fields"))
            || (met.ContainsKey("refuse-sort") && parameters.ContainsKey("sort"))
            || (met.ContainsKey("refuse-filter") && parameters.ContainsKey("filter"))
            || (met.TryGetValue("refuse-limit", out var largest) && limit > largest)
        )
        {
            await errors.WriteAsync(context, 400, "invalid data", "sort, filter, fields and limit are not taken like this");
            return;
        }

        if (met.ContainsKey("ignore-fields"))
        {
            parameters.Remove("fields");
        }

        var envelope = Catalog.Envelopes[
            path[^1] is var last && path.Length % 2 == 1 && Catalog.Envelopes.ContainsKey(last) ? last : path[0]
        ];
        if (!TryFields(parameters, envelope, errors.Api, out var fields, out var minor))
        {
            await errors.WriteAsync(context, 400, minor, "fields names no field of these records");
            return;
        }

        if (path.Length == 2)
        {
            await OneAsync(context, catalog, path[0], OAuthCheck.Decode(path[1], plus: false), fields, errors);
            return;
        }

        Filter? filter = null;
        if (parameters.TryGetValue("filter", out var text) && text.Length > 0)
        {
            filter = Filter.Parse(text, out var problem);
            if (filter is null || filter.Paths.Any(p => Fields.Find(envelope, p.Split('.')[0]) is null))
            {
                await errors.WriteAsync(context, 400, "invalid_filter_field", $"filter: {(filter is null ? problem : "unknown field")}");
                return;
            }
        }

        if (View(catalog, path, envelope, filter, text ?? "", parameters) is not { } view)
        {
            await errors.WriteAsync(context, 404, "unknown object", "there is no such record or collection");
            return;
        }

        if (met.ContainsKey("oversized"))
        {
            await OversizedAsync(context, view.Envelope);
        }
        else if (met.ContainsKey("huge-record"))
        {
            await HugeAsync(context, view.Envelope);
        }
        else if (met.ContainsKey("endless"))
        {
            await Front.PlainAsync(
                context,
                200,
                $"{{\"{view.Envelope}\":[{string.Join(',', Enumerable.Range(offset, Math.Min(limit, MostRows)).Select(i => $"{{\"sourcedId\":\"e{i:D9}\"}}"))}]}}",
                "application/json"
            );
        }
        else
        {
            await PageAsync(context, catalog, met, view, new Page(offset, limit, fields), path);
        }
    }

    /// <summary>Blanks between records, of which a compressed answer can hold very many.</summary>
    private static async Task OversizedAsync(HttpContext context, string envelope)
    {
        context.Response.ContentType = "application/json";
        context.Response.Headers.ContentEncoding = "gzip";
        await using var gzip = new GZipStream(context.Response.Body, CompressionLevel.Fastest);
        await gzip.WriteAsync(Encoding.UTF8.GetBytes($"{{\"{envelope}\":["), context.RequestAborted);
        var blanks = new byte[1024 * 1024];
        Array.Fill(blanks, (byte)' ');
        for (var i = 0; i < 300; i++)
        {
            await gzip.WriteAsync(blanks, context.RequestAborted);
        }

        await gzip.WriteAsync("]}"u8.ToArray(), context.RequestAborted);
    }

    private static async Task HugeAsync(HttpContext context, string envelope)
    {
        context.Response.ContentType = "application/json";
        await context.Response.Body.WriteAsync(
            Encoding.UTF8.GetBytes($"{{\"{envelope}\":[{{\"sourcedId\":\"1\",\"metadata\":\""),
            context.RequestAborted
        );
        var letters = new byte[1024 * 1024];
        Array.Fill(letters, (byte)'x');
        for (var i = 0; i < 40; i++)
        {
            await context.Response.Body.WriteAsync(letters, context.RequestAborted);
        }

        await context.Response.Body.WriteAsync("\"}]}"u8.ToArray(), context.RequestAborted);
    }

    /// <summary>Answers with the failure that a fault wants.</summary>
    /// <returns>False if none does.</returns>
    public static async Task<bool> FailAsync(HttpContext context, Dictionary<string, int> met, string collection, int limit, Errors errors)
    {
        if (met.ContainsKey("redirect"))
        {
            context.Response.Headers.Location = "https://elsewhere.example" + context.Request.Path;
            await Front.PlainAsync(context, 302, "");
        }
        else if (met.ContainsKey("408"))
        {
            await Front.PlainAsync(context, 408, "Request Timeout");
        }
        else if (met.Keys.FirstOrDefault(name => name.StartsWith("429", StringComparison.Ordinal)) is { } busy)
        {
            context.Response.Headers.RetryAfter = busy switch
            {
                "429" => "1",
                // By the clock that its Date header shows.
                "429-date" => (
                    DateTimeOffset.TryParse(context.Response.Headers.Date, CultureInfo.InvariantCulture, out var now)
                        ? now
                        : TimeProvider.System.GetUtcNow()
                )
                    .AddSeconds(1)
                    .ToString("r", CultureInfo.InvariantCulture),
                "429-long" => "7200",
                _ => default,
            };

            await Front.PlainAsync(context, 429, "Too many requests, please try again later.");
        }
        else if (met.ContainsKey("502") || (met.TryGetValue("502-over", out var most) && limit > most))
        {
            await Front.PlainAsync(context, 502, "<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html");
        }
        else if (met.ContainsKey("503"))
        {
            await Front.PlainAsync(context, 503, "Service Unavailable");
        }
        else if (met.ContainsKey("500") || met.ContainsKey("500-at"))
        {
            await errors.WriteAsync(context, 500, "internal server error", "something went wrong");
        }
        else if (met.ContainsKey("401"))
        {
            await errors.WriteAsync(context, 401, "unauthorized", "This request requires authorization");
        }
        else if (met.ContainsKey("404"))
        {
            await errors.WriteAsync(context, 404, "unknown object", "not found");
        }
        else if (
            (met.ContainsKey("no-demographics-403") && collection == "demographics")
            || (met.ContainsKey("no-classes-403") && (collection is "classes" or "enrollments"))
        )
        {
            await errors.WriteAsync(context, 403, "forbidden", "not shared with this application");
        }
        else if (met.ContainsKey("html"))
        {
            await Front.PlainAsync(context, 200, "<!doctype html><html><body><h1>Please sign in</h1></body></html>", "text/html");
        }
        else if (met.ContainsKey("no-array"))
        {
            await errors.WriteAsync(context, 200, "server_busy", "the data are being prepared");
        }
        else
        {
            return false;
        }

        return true;
    }

    private async Task PageAsync(HttpContext context, Catalog catalog, Dictionary<string, int> met, View view, Page page, string[] path)
    {
        var rows = view.Rows;
        if (met.ContainsKey($"empty-{view.Envelope}"))
        {
            rows = [];
        }

        if (met.ContainsKey("duplicate-rows"))
        {
            rows = Doubled(rows);
        }

        if (met.ContainsKey("unstable-order") && !context.Request.Query.ContainsKey("sort"))
        {
            int[] places = [.. Enumerable.Range(0, rows.Count)];
            new Random(Interlocked.Increment(ref _revision)).Shuffle(places);
            var ordered = rows;
            rows = Serving.View.Of(places, i => ordered[i]);
        }

        var limit = Math.Min(page.Limit, MostRows);
        if (met.TryGetValue("clamp", out var most))
        {
            limit = Math.Min(limit, most);
        }

        var offset = met.ContainsKey("ignore-offset") ? 0 : page.Offset;
        if (met.ContainsKey("offset-rounds-up") && limit > 0)
        {
            offset = (offset + limit - 1) / limit * limit;
        }

        var vanished = met.ContainsKey("row-vanishes") && offset > 0;
        var start = Math.Min(
            met.ContainsKey("shift-rows") && offset > 0 ? offset - 1
                : vanished ? offset + 1
                : offset,
            rows.Count
        );
        if (met.ContainsKey("never-empty") && start >= rows.Count)
        {
            start = Math.Max(0, rows.Count - limit);
        }

        var count = Math.Min(limit, rows.Count - start);
        if (met.ContainsKey("short-page") && count > 1)
        {
            count /= 2;
        }

        var headers = context.Response.Headers;
        if (!met.ContainsKey("no-totals") && !met.ContainsKey("never-empty"))
        {
            var total = rows.Count;
            total += met.ContainsKey("total-changes") && offset > 0 ? 1 + (offset / Math.Max(1, limit)) : 0;
            total -= vanished ? 1 : 0;
            total += met.ContainsKey("total-too-high") ? 1 : 0;
            total -= met.ContainsKey("total-too-low") ? 1 : 0;
            total -= met.ContainsKey("total-at-page-end") && total > limit ? ((total - 1) % limit) + 1 : 0;
            total = met.ContainsKey("total-of-page") ? count : total;
            headers["x-total-count"] = total.ToString(CultureInfo.InvariantCulture);
            headers["x-count"] = (count + (met.ContainsKey("count-too-high") ? 1 : 0)).ToString(CultureInfo.InvariantCulture);
        }

        if (met.ContainsKey("revision-changes"))
        {
            headers["x-perm-rev"] = Interlocked.Increment(ref _revision).ToString(CultureInfo.InvariantCulture);
        }
        else if (met.ContainsKey("perm-rev"))
        {
            headers["x-perm-rev"] = catalog.Revision;
        }

        if (met.ContainsKey("masked"))
        {
            headers["x-obfuscated"] = "true";
        }

        if (met.ContainsKey("link") && start + count < rows.Count)
        {
            var target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
            var address = $"{context.Request.Scheme}://{context.Request.Host}{target.Split('?')[0]}";
            headers.Link = $"<{address}?limit={limit}&offset={start + count}&sort=sourcedId&orderBy=asc>; rel=\"next\"";
        }

        var odd =
            met.ContainsKey("malformed-user")
            || met.ContainsKey("no-sourcedid")
            || met.ContainsKey("null-text")
            || met.ContainsKey("null-row");
        var third = odd && path[0] == "users" && catalog.Get("users").Rows is { Count: > 2 } users ? users[2].Id : null;
        var nulled =
            met.ContainsKey("null-last-row") && catalog.Get(path[0]).Rows is { Count: > 0 } records ? records[^1].Id
            : met.ContainsKey("null-row") ? third
            : null;
        var breakAt = met.ContainsKey("drop-connection") || met.ContainsKey("drop-connection-at") ? count / 2 : -1;
        var closeAt = met.ContainsKey("half-close") ? count / 2 : -1;
        var stallAt = met.TryGetValue("stall", out var pause) ? count / 2 : -1;
        var cutAt = met.ContainsKey("cut-json") ? count / 2 : -1;
        context.Response.ContentType = "application/json; charset=utf-8";
        var body = context.Response.BodyWriter;
        await using var json = new Utf8JsonWriter(body, RowWriter.Json);
        var bare = met.ContainsKey("bare-array");
        if (!bare)
        {
            json.WriteStartObject();
            if (met.ContainsKey("with-warning"))
            {
                json.WritePropertyName("statusInfoSet");
                json.WriteRawValue("""[{"imsx_codeMajor":"success","imsx_severity":"warning","imsx_codeMinor":"invalid_sort_field"}]""");
            }

            json.WritePropertyName(met.ContainsKey("endpoint-envelope") ? path[^1] : view.Envelope);
        }

        json.WriteStartArray();
        using var next = (rows is Enrollments all ? all.From(start) : Enumerable.Range(start, count).Select(i => rows[i])).GetEnumerator();
        for (var i = 0; i < count && next.MoveNext(); i++)
        {
            if (i == breakAt)
            {
                json.Flush();
                await body.FlushAsync(context.RequestAborted);
                Break(context);
                return;
            }

            if (i == closeAt)
            {
                json.Flush();
                await body.FlushAsync(context.RequestAborted);
                await HalfCloseAsync(context);
                return;
            }

            if (i == stallAt)
            {
                json.Flush();
                await body.FlushAsync(context.RequestAborted);
                await Task.Delay(pause, context.RequestAborted);
            }

            if (i == cutAt)
            {
                json.Flush();
                await body.WriteAsync((i > 0 ? ",{\"sourcedId\":\"49"u8 : "{\"sourcedId\":\"49"u8).ToArray(), context.RequestAborted);
                return;
            }

            var row = next.Current;
            if (nulled is not null && row.Id == nulled)
            {
                json.WriteNullValue();
            }
            else
            {
                catalog.Writer.Write(json, third is not null && row.Id == third ? Spoiled(catalog, row, met) : row, page.Fields);
            }

            if (json.BytesPending > FlushAt)
            {
                json.Flush();
                await body.FlushAsync(context.RequestAborted);
            }
        }

        json.WriteEndArray();
        if (!bare)
        {
            json.WriteEndObject();
        }

        json.Flush();
        if (breakAt == 0 && count == 0)
        {
            Break(context);
            return;
        }

        await body.FlushAsync(context.RequestAborted);
    }

    /// <summary>The other side sees the end of the stream in the middle of an answer, and may still send.</summary>
    private static async Task HalfCloseAsync(HttpContext context)
    {
        context.Features.GetRequiredFeature<SandboxRequest>().Status = 0;
        context.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket.Shutdown(SocketShutdown.Send);
        try
        {
            await Task.Delay(TimeSpan.FromSeconds(2), context.RequestAborted);
        }
        catch (OperationCanceledException)
        {
            // It hung up, as it should.
        }

        context.Abort();
    }

    private static void Break(HttpContext context)
    {
        context.Features.GetRequiredFeature<SandboxRequest>().Status = 0;
        context.Abort();
    }

    private static async Task OneAsync(HttpContext context, Catalog catalog, string collection, string id, ulong fields, Errors errors)
    {
        if (catalog.Find(collection, id) is not { } row)
        {
            await errors.WriteAsync(context, 404, "unknown object", "there is no such record");
            return;
        }

        context.Response.ContentType = "application/json; charset=utf-8";
        await using var json = new Utf8JsonWriter(context.Response.BodyWriter, RowWriter.Json);
        json.WriteStartObject();
        json.WritePropertyName(
            Catalog.Envelopes[collection] switch
            {
                "classes" => "class",
                "demographics" => "demographics",
                var envelope => envelope[..^1],
            }
        );
        catalog.Writer.Write(json, row, fields);
        json.WriteEndObject();
    }

    private static View? View(
        Catalog catalog,
        string[] path,
        string envelope,
        Filter? filter,
        string filterText,
        Dictionary<string, string> parameters
    )
    {
        var sort = parameters.GetValueOrDefault("sort", "");
        var by = sort.Length == 0 ? null : Fields.Find(envelope, sort.Split('.')[0]);
        if (by == Fields.SourcedId)
        {
            by = null;
        }

        var down = string.Equals(parameters.GetValueOrDefault("orderBy"), "desc", StringComparison.OrdinalIgnoreCase);
        var whole = path.Length == 1 ? catalog.Get(path[0]) : null;
        if (path.Length > 1)
        {
            whole = catalog.Select(string.Join('/', path), () => Nested(catalog, path) ?? new View("", []));
            if (whole.Envelope.Length == 0)
            {
                return null;
            }
        }

        if (filter is null && by is null && !down)
        {
            return whole;
        }

        return catalog.Select(
            $"{string.Join('/', path)}?{filterText}&{(by is null ? "" : sort)}&{down}",
            () =>
            {
                var rows = whole!.Rows;
                var scratch = new List<string>();
                if (filter is not null)
                {
                    rows = Serving.View.Found(rows, row => filter.Matches(row, catalog.Reader, scratch));
                }

                int[] places = [.. Enumerable.Range(0, rows.Count)];
                if (by is not null)
                {
                    string[] keys =
                    [
                        .. rows.Select(row =>
                        {
                            catalog.Reader.Values(row, sort, scratch);
                            return scratch.Count > 0 ? scratch[0] : "";
                        }),
                    ];
                    places = [.. places.OrderBy(i => keys[i], StringComparer.Ordinal)];
                }

                if (down)
                {
                    Array.Reverse(places);
                }

                return new View(whole.Envelope, by is null && !down ? rows : Serving.View.Of(places, i => rows[i]));
            }
        );
    }

    private static View? Nested(Catalog catalog, string[] path)
    {
        var id = OAuthCheck.Decode(path[1], plus: false);
        if (catalog.Find(path[0], id) is null)
        {
            return null;
        }

        if (path is ["schools", _, "classes", var classId, var inner])
        {
            var school = OAuthCheck.Decode(classId, plus: false);
            return inner == "enrollments" ? new("enrollments", catalog.Where(catalog.Get("enrollments"), "class.sourcedId", school))
                : inner is "students" or "teachers" ? Members(catalog, school, inner)
                : null;
        }

        if (path.Length != 3)
        {
            return null;
        }

        var orgs = catalog.World.Options.Api == SandboxApi.OneRoster11 ? "orgs.sourcedId" : "roles.org.sourcedId";
        return (path[0], path[2]) switch
        {
            ("classes", "students" or "teachers") => Members(catalog, id, path[2]),
            ("users" or "students" or "teachers", "classes") => Among(
                catalog,
                "classes",
                Seats(catalog, "user.sourcedId", id, null),
                "class.sourcedId"
            ),
            ("courses", "classes") => Matching("classes", "course.sourcedId"),
            ("schools", "classes" or "enrollments") => Matching(path[2], "school.sourcedId"),
            ("schools", "courses") => Matching("courses", "org.sourcedId"),
            ("schools", "students" or "teachers" or "users") => Matching(path[2], orgs),
            ("schools", "terms") => catalog.Get("terms"),
            ("terms", "classes") => Matching("classes", "terms.sourcedId"),
            ("terms", "gradingPeriods") => Matching("gradingPeriods", "parent.sourcedId"),
            _ => null,
        };

        View Matching(string collection, string by) => new(Catalog.Envelopes[collection], catalog.Where(catalog.Get(collection), by, id));
    }

    private static View Members(Catalog catalog, string classId, string collection) =>
        Among(catalog, collection, Seats(catalog, "class.sourcedId", classId, collection[..^1]), "user.sourcedId");

    private static IReadOnlyList<Row> Seats(Catalog catalog, string path, string id, string? role)
    {
        var scratch = new List<string>();
        return Serving.View.Found(
            catalog.Where(catalog.Get("enrollments"), path, id),
            row =>
            {
                catalog.Reader.Values(row, "status", scratch);
                if (!scratch.Contains("active", StringComparer.Ordinal))
                {
                    return false;
                }

                catalog.Reader.Values(row, "role", scratch);
                return role is null || scratch.Contains(role, StringComparer.Ordinal);
            }
        );
    }

    private static View Among(Catalog catalog, string collection, IReadOnlyList<Row> seats, string path)
    {
        var scratch = new List<string>();
        var ids = new HashSet<string>(StringComparer.Ordinal);
        foreach (var seat in seats)
        {
            catalog.Reader.Values(seat, path, scratch);
            ids.UnionWith(scratch);
        }

        return new(Catalog.Envelopes[collection], Serving.View.Found(catalog.Get(collection).Rows, row => ids.Contains(row.Id)));
    }

    // At places where pages of the usual sizes do not end between the two.
    private static IReadOnlyList<Row> Doubled(IReadOnlyList<Row> rows)
    {
        var places = new List<int>(rows.Count + (rows.Count / 90) + 1);
        for (var i = 0; i < rows.Count; i++)
        {
            places.Add(i);
            if (places.Count % 100 == 7 && rows[i].Kind == RowKind.User)
            {
                places.Add(~i);
            }
        }

        return Serving.View.Of([.. places], i => i < 0 ? rows[~i] with { Stale = true } : rows[i]);
    }

    private static Row Spoiled(Catalog catalog, Row row, Dictionary<string, int> met)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, RowWriter.Json))
        {
            catalog.Writer.Write(writer, row, Fields.All);
        }

        var json = (JsonObject)JsonNode.Parse(buffer.WrittenSpan)!;
        if (met.ContainsKey("no-sourcedid"))
        {
            json.Remove("sourcedId");
        }

        if (met.ContainsKey("null-text"))
        {
            json["email"] = json["phone"] = json["middleName"] = json["userIds"] = json["agents"] = json["grades"] = null;
        }

        if (met.ContainsKey("malformed-user"))
        {
            json["status"] = 7;
            json["orgs"] = "101";
            json["userIds"] = new JsonObject { ["Barcode"] = 12 };
            json["enabledUser"] = 1;
            json["givenName"] = new JsonArray("A", "B");
            json["grades"] = "05";
            json["dateLastModified"] = "yesterday";
            json.Remove("familyName");
        }

        return new Row(json);
    }

    private static bool TryNumber(Dictionary<string, string> parameters, string name, int otherwise, out int number)
    {
        number = otherwise;
        return !parameters.TryGetValue(name, out var text)
            || int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
    }

    private static bool TryFields(
        Dictionary<string, string> parameters,
        string envelope,
        SandboxApi api,
        out ulong fields,
        out string minor
    )
    {
        fields = Fields.All;
        minor = "";
        if (!parameters.TryGetValue("fields", out var text))
        {
            return true;
        }

        if (string.IsNullOrWhiteSpace(text))
        {
            minor = "invalid_blank_selection_field";
            return false;
        }

        var wanted = text.Split(',', StringSplitOptions.TrimEntries).Select(name => Fields.Find(envelope, name)).ToArray();
        if (Array.Exists(wanted, field => field is null))
        {
            // 1.1 sends all fields then; 1.2 refuses.
            minor = "invalid_selection_field";
            return api == SandboxApi.OneRoster11;
        }

        fields = wanted.Aggregate(0UL, (bits, field) => bits | field!.Bit);
        return true;
    }

    private sealed record Page(int Offset, int Limit, ulong Fields);
}
