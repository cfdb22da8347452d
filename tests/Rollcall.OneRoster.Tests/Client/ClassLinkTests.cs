using Microsoft.AspNetCore.Http;
using Rollcall.OneRoster.ClassLink;

namespace Rollcall.OneRoster.Tests.Client;

public class ClassLinkTests
{
    private readonly TestTime time = new();

    private static string App(string fields) =>
        $$"""{"id":1,"application_id":2,"name":"Our App","tenant_name":"Example Schools",{{fields}}}""";

    private ClassLinkDirectory Directory(ScriptedServer server) => new("partner-key", server.Url, Reading.Options(time));

    [Theory]
    [InlineData(" 2284\t", "2284")]
    [InlineData("2", "2")]
    [InlineData("1234567890", "1234567890")]
    [InlineData("12345678901", null)]
    [InlineData("0123", null)]
    [InlineData("٣", null)]
    [InlineData("-1", null)]
    [InlineData("", null)]
    [InlineData(null, null)]
    public void Tenant_ids(string? text, string? id) => Assert.Equal(id, TenantId.TryParse(text, out var parsed) ? parsed : null);

    [Theory]
    [InlineData(
        "\"bearer\":\"b\",\"enabled\":\"true\",\"tenant_status\":\"Active\",\"oneroster_application_id\":\"X%3D\"",
        TenantState.Valid
    )]
    [InlineData("\"bearer\":\"b\",\"enabled\":true,\"tenant_status\":\"active\",\"oneroster_application_id\":\"X%3D\"", TenantState.Valid)]
    [InlineData("\"bearer\":\"b\",\"oneroster_application_id\":\"X%3D\"", TenantState.Valid)]
    [InlineData(
        "\"bearer\":\"b\",\"enabled\":\"false\",\"tenant_status\":\"Active\",\"oneroster_application_id\":\"X%3D\"",
        TenantState.NotEnabled
    )]
    [InlineData(
        "\"bearer\":\"b\",\"enabled\":\"true\",\"tenant_status\":\"Suspended\",\"oneroster_application_id\":\"X%3D\"",
        TenantState.NotActive
    )]
    [InlineData(
        "\"bearer\":null,\"enabled\":\"true\",\"tenant_status\":\"Active\",\"oneroster_application_id\":\"X%3D\"",
        TenantState.NoBearer
    )]
    [InlineData(
        "\"bearer\":\"b\",\"enabled\":\"true\",\"tenant_status\":\"Active\",\"oneroster_application_id\":\" \"",
        TenantState.NoBearer
    )]
    public async Task A_district_is_judged_by_its_record(string fields, TenantState state)
    {
        foreach (var tenant in new[] { "\"tenant_id\":2222,", "\"tenant_id\":\"2222\"," })
        {
            await using var server = await ScriptedServer.StartAsync(
                (http, seen, _) =>
                    http.Json(
                        seen.Offset > 0
                            ? """{"status":1,"applications":[]}"""
                            : $$"""{"status":1,"applications":[{{App("\"tenant_id\":22,\"bearer\":\"other\"")}},{{App(tenant + fields)}}]}"""
                    )
            );
            using var directory = Directory(server);
            var check = await directory.CheckAsync(" 2222 ");
            Assert.Equal(state, check.State);
            Assert.Equal("Example Schools", check.TenantName);
            Assert.Equal("Bearer partner-key", server.Requests[0].Authorization);
            Assert.Equal("/applications?limit=1000&offset=0", server.Requests[0].Target);
        }
    }

    [Fact]
    public async Task A_district_that_is_not_listed_has_not_added_the_application()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json("""{"applications":[]}"""));
        using var directory = Directory(server);
        var check = await directory.CheckAsync("5");
        Assert.Equal(TenantState.NotAdded, check.State);

        // One that lists nobody at all is more likely another partner's key than a district that forgot something.
        Assert.StartsWith("ClassLink lists no district at all for this partner key: ", check.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("Ask the district", check.Message, StringComparison.Ordinal);
        Assert.Equal(TenantState.Malformed, (await directory.CheckAsync("five")).State);
        Assert.Single(server.Requests);
    }

    [Fact]
    public void Several_usable_records_are_left_to_a_person()
    {
        static ClassLinkApplication Record(string id, bool? on = true) =>
            new()
            {
                TenantId = "5",
                OneRosterApplicationId = id,
                Bearer = "b",
                Enabled = on,
            };

        Assert.Equal(TenantState.Ambiguous, TenantCheck.Of("5", [Record("A"), Record("B")]).State);
        Assert.Equal(2, TenantCheck.Of("5", [Record("A"), Record("B"), Record("C", false)]).Candidates.Count);
        Assert.Equal("A", TenantCheck.Of("5", [Record("A"), Record("A"), Record("C", false)]).Application!.OneRosterApplicationId);

        // Chosen, it is that one as long as it is there.
        var several = TenantCheck.Of("5", [Record("A"), Record("B")]);
        Assert.Same(several, several.With(null));
        Assert.Equal((TenantState.Valid, "B"), (several.With("B").State, several.With("B").Application!.OneRosterApplicationId));
        Assert.Equal((TenantState.ChoiceGone, 2), (several.With("C").State, several.With("C").Candidates.Count));
        Assert.Equal(TenantState.ChoiceGone, TenantCheck.Of("5", [Record("A")]).With("B").State);
        Assert.Equal(TenantState.NotAdded, TenantCheck.Of("6", [Record("A")]).With("B").State);
    }

    [Fact]
    public async Task The_list_is_read_to_the_empty_page()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    $$"""{"applications":[{{string.Join(',', Enumerable.Range(seen.Offset, 5).Take(Math.Clamp(12 - seen.Offset, 0, 5)).Select(i => App("\"tenant_id\":" + (i + 1))))}}]}"""
                )
        );
        using var directory = Directory(server);
        Assert.Equal(Enumerable.Range(1, 12).Select(i => i.ToString()), (await directory.ApplicationsAsync()).Select(a => a.TenantId));
        Assert.Equal([0, 5, 10, 12], server.Requests.Select(r => r.Offset));
    }

    [Theory]
    [InlineData("""[{"tenant_id":7}]""")]
    [InlineData("""{"status":1,"applications":{"tenant_id":7,"bearer":null}}""")]
    [InlineData("""{"tenant_id":7}""")]
    public async Task Old_and_odd_forms_are_read_even_when_offset_is_ignored(string body)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json(body));
        using var directory = Directory(server);
        Assert.Equal("7", Assert.Single(await directory.ApplicationsAsync()).TenantId);
    }

    [Theory]
    [InlineData("""{"status":1}""")]
    [InlineData("""{"applications":"none"}""")]
    [InlineData("<html>")]
    [InlineData("")]
    public async Task A_200_without_the_list_is_no_empty_list(string body)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json(body));
        using var directory = Directory(server);
        await Reading.FaultAsync(() => directory.CheckAsync("7"), RosterFault.NotARoster);
    }

    [Fact]
    public async Task A_bad_partner_key_is_refused_without_being_told()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(401, "bad key partner-key"));
        using var directory = Directory(server);
        Assert.DoesNotContain(
            "partner-key",
            (await Reading.FaultAsync(() => directory.CheckAsync("7"), RosterFault.CredentialsRefused)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Server_credentials_are_handed_out_whole_or_not_at_all()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                http.Json(
                    $$"""{"status":1,"server":{"client_id":"k","client_secret":"{{(seen.Path.Contains("A%2F", StringComparison.Ordinal) ? "s" : "")}}","endpoint_url":"https://x-v2.rosterserver.com"},"message":""}"""
                )
        );
        using var directory = Directory(server);
        var found = await directory.ServerCredentialsAsync("A%2Fb%3D");
        Assert.Equal(("k", "s", "https://x-v2.rosterserver.com"), (found.Key, found.Secret, found.EndpointUrl));
        Assert.Equal("/applications/A%2Fb%3D/server", server.Requests[0].Target);
        await Reading.FaultAsync(() => directory.ServerCredentialsAsync("B"), RosterFault.AccessDisabled);
        await Assert.ThrowsAsync<ArgumentException>(() => directory.ServerCredentialsAsync("../x"));
    }

    [Fact]
    public async Task A_token_rotated_during_a_read_is_read_again_from_the_list()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
                seen.Path == "/applications"
                    ? http.Json(
                        seen.Offset > 0
                            ? """{"applications":[]}"""
                            : $$"""{"applications":[{{App("\"tenant_id\":1,\"bearer\":\"b" + (n < 3 ? 1 : 2) + "\",\"oneroster_application_id\":\"X%2Fk%3D\"")}}]}"""
                    )
                : seen.Authorization == "Bearer b2" ? http.Json(Answers.Users(seen.Offset > 0 ? [] : ["a"]))
                : http.Text(401, "")
        );
        using var directory = Directory(server);
        var check = await directory.CheckAsync("1");
        using var source = new ClassLinkConnections(Reading.Options(time)).OpenProxy(directory, check.Application!);
        Assert.Single((await source.Users().PullAsync()).Records);
        Assert.Contains(server.Requests, r => r.Path == "/X%2Fk%3D/ims/oneroster/v1p1/users");
    }

    /// <summary>The token is ClassLink's own: nobody here has a key or a secret to check.</summary>
    [Fact]
    public async Task A_token_that_stays_refused_means_that_the_district_has_not_authorised()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
                seen.Path == "/applications"
                    ? http.Json(
                        seen.Offset > 0
                            ? """{"applications":[]}"""
                            : $$"""{"applications":[{{App("\"tenant_id\":1,\"bearer\":\"b1\",\"oneroster_application_id\":\"X\"")}}]}"""
                    )
                    : http.Text(401, "no")
        );
        using var directory = Directory(server);
        var check = await directory.CheckAsync("1");
        using var source = new ClassLinkConnections(Reading.Options(time)).OpenProxy(directory, check.Application!);
        var e = await source.Users().FaultAsync(RosterFault.CredentialsRefused);
        Assert.Contains("the district has not authorised", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", e.Message, StringComparison.Ordinal);
    }

    /// <summary>A refused token leads back to the directory: what that answers says nothing of the collection that was asked for.</summary>
    [Theory]
    [InlineData(403, RosterFault.AccessDisabled)]
    [InlineData(404, RosterFault.NotARoster)]
    [InlineData(400, RosterFault.Refused)]
    [InlineData(503, RosterFault.Unreachable)]
    public async Task A_directory_that_fails_makes_no_collection_look_unshared(int status, RosterFault fault)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
                seen.Path == "/applications"
                    ? n > 2
                        ? http.Text(status, "")
                        : http.Json(
                            seen.Offset > 0
                                ? """{"applications":[]}"""
                                : $$"""{"applications":[{{App("\"tenant_id\":1,\"bearer\":\"b1\",\"oneroster_application_id\":\"X\"")}}]}"""
                        )
                    : http.Text(401, "")
        );
        using var directory = Directory(server);
        var check = await directory.CheckAsync("1");
        using var source = new ClassLinkConnections(Reading.Options(time)).OpenProxy(directory, check.Application!);
        var refused = await source.Demographics().FaultAsync(fault);
        Assert.Null(refused.StatusCode);
        Assert.Contains("list of applications", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pasted_and_direct_connections_send_what_they_were_given()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json("""{"orgs":[{"sourcedId":"1"}]}"""));
        var connections = new ClassLinkConnections(Reading.Options(time));
        using var pasted = connections.OpenPasted(server.Url + "/proxy/v1p0/X%3D", " tok ");
        using var direct = connections.OpenDirect(server.Url + "/", "key", "secret", Auth.OAuthSignature.HmacSha1);
        await pasted.ProbeAsync();
        await direct.ProbeAsync();
        Assert.Equal(
            ("/proxy/v1p0/X%3D/ims/oneroster/v1p1/orgs", "Bearer tok"),
            (server.Requests[0].Path, server.Requests[0].Authorization)
        );
        Assert.Equal("HMAC-SHA1", OAuth1Tests.Fields(server.Requests[1].Authorization)["oauth_signature_method"]);
        Assert.Throws<RosterException>(() => connections.OpenPasted(server.Url, "a b"));
        Assert.Throws<RosterException>(() => connections.OpenDirect(server.Url, "key", ""));
        Assert.Throws<RosterException>(() => new ClassLinkConnections().OpenPasted(server.Url, "t"));
    }
}
