using System.IO.Compression;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Http;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

public class TransportTests
{
    private readonly TestTime time = new();

    private static Task Good(HttpContext http, Seen seen) => http.Json(Answers.Users(seen.Offset > 0 ? [] : ["a"]));

    private double[] Seconds => [.. time.Waits.Select(w => w.TotalSeconds)];

    [Theory]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(502)]
    [InlineData(503)]
    [InlineData(504)]
    public async Task Passing_errors_are_waited_out(int status)
    {
        await using var server = await ScriptedServer.StartAsync((http, seen, n) => n <= 5 ? http.Text(status, "busy") : Good(http, seen));
        using var source = server.Source(time);
        Assert.Single((await source.Users().PullAsync()).Records);
        Assert.Equal([1, 2, 4, 8, 16], Seconds);
    }

    [Fact]
    public async Task An_error_that_stays_ends_the_walk_after_five_retries()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(503, "down"));
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.Unreachable);
        Assert.Equal((503, 6), (e.StatusCode, server.Requests.Count));
    }

    [Theory]
    [InlineData(400, RosterFault.Refused, 4)] // without sort, with fewer rows, and with neither
    [InlineData(401, RosterFault.CredentialsRefused, 1)]
    [InlineData(403, RosterFault.AccessDisabled, 1)]
    [InlineData(404, RosterFault.NotARoster, 1)]
    [InlineData(422, RosterFault.Refused, 1)]
    [InlineData(204, RosterFault.NotARoster, 1)]
    [InlineData(501, RosterFault.Unreachable, 1)]
    public async Task Final_errors_are_not_retried(int status, RosterFault fault, int requests)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => status == 204 ? Empty(http) : http.Text(status, "x"));
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(fault);
        Assert.Equal((status, requests), (e.StatusCode, server.Requests.Count));
        Assert.Empty(time.Waits);

        static Task Empty(HttpContext http)
        {
            http.Response.StatusCode = 204;
            return Task.CompletedTask;
        }
    }

    [Fact]
    public async Task A_longer_retry_after_wins_and_a_shorter_does_not()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, n) =>
                n switch
                {
                    1 => http.Text(429, "", "text/html", ("Retry-After", "59")),
                    2 => http.Text(429, "", "text/html", ("Retry-After", "1")),
                    3 => http.Text(503, "", "text/html", Dated(time.GetUtcNow())),

                    // By a clock of its own, from which alone its date tells how long.
                    4 => http.Text(503, "", "text/html", Dated(time.GetUtcNow().AddHours(3))),
                    5 => http.Text(503, "", "text/html", Dated(time.GetUtcNow().AddHours(-3))),
                    _ => Good(http, seen),
                }
        );
        using var source = server.Source(time);
        await source.Users().PullAsync();
        Assert.Equal([59, 2, 30, 30, 30], Seconds);

        static (string, string)[] Dated(DateTimeOffset theirs) =>
            [("Date", theirs.ToString("R")), ("Retry-After", theirs.AddSeconds(30).ToString("R"))];
    }

    [Fact]
    public async Task A_server_that_asks_to_wait_for_a_day_has_failed()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(429, "", "text/html", ("Retry-After", "86400")));
        using var source = server.Source(time);
        Assert.Contains("1440 minutes", (await source.Users().FaultAsync(RosterFault.Unreachable)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_has_one_request_wait_again_and_again_has_failed_after_a_quarter_of_an_hour()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(429, "", "text/html", ("Retry-After", "400")));
        using var source = server.Source(time);
        Assert.Contains("20 minutes in all", (await source.Users().FaultAsync(RosterFault.Unreachable)).Message, StringComparison.Ordinal);
        Assert.Equal([400, 400], Seconds);
    }

    [Theory]
    [InlineData("localhost", "nobody whom this computer trusts")]
    [InlineData("127.0.0.1", "another name")]
    public async Task A_certificate_that_is_not_believed_is_told_with_the_reason(string host, string why)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        using var made = request.CreateSelfSigned(DateTimeOffset.UnixEpoch.AddYears(50), DateTimeOffset.UnixEpoch.AddYears(100));
        using var certificate = X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), null);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var served = ServeAsync();
        using var source = new RestRosterSource(
            new RosterEndpoint(
                $"https://{host}:{((IPEndPoint)listener.LocalEndpoint).Port}/ims/oneroster/v1p1",
                new BearerCredentials("token-1234")
            ),
            Reading.Options(time)
        );
        Assert.Contains(why, (await source.Users().FaultAsync(RosterFault.Unreachable)).Message, StringComparison.Ordinal);
        await served;

        async Task ServeAsync()
        {
            using var client = await listener.AcceptTcpClientAsync();
            await using var tls = new SslStream(client.GetStream());
            try
            {
                await tls.AuthenticateAsServerAsync(certificate);
                await tls.ReadExactlyAsync(new byte[1]);
            }
            catch (Exception e) when (e is IOException or AuthenticationException)
            {
                // The client hangs up: that is what it is to do.
            }
        }
    }

    [Fact]
    public async Task A_page_too_heavy_is_asked_for_in_halves_at_the_same_place()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) =>
                seen.Offset == 0 ? http.Json(Answers.Users(Enumerable.Range(0, 900).Select(i => "u" + i)))
                : seen.Limit > 250 ? http.Text(502, "too much")
                : http.Json(Answers.Users(seen.Offset == 899 ? ["u899", "u900"] : []))
        );
        using var source = server.Source(time);
        Assert.Equal(901, (await source.Users().PullAsync()).Result.Rows);
        Assert.Equal(
            [(1000, 0), (1000, 899), (1000, 899), (500, 899), (250, 899), (250, 901)],
            server.Requests.Select(r => (r.Limit, r.Offset))
        );
    }

    [Fact]
    public async Task Halving_stops_at_a_hundred()
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(504, ""));
        using var source = server.Source(time, o => o with { PageSize = 300 });
        await source.Users().FaultAsync(RosterFault.Unreachable);
        Assert.Equal([300, 300, 150, 100, 100, 100], server.Requests.Select(r => r.Limit));
    }

    [Fact]
    public async Task A_body_cut_short_is_fetched_again_whole()
    {
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, n) =>
            {
                if (n > 2)
                {
                    await Good(http, seen);
                    return;
                }

                var part = Encoding.UTF8.GetBytes("""{"users":[{"sourcedId":"half"},{"sour""");
                if (n == 1)
                {
                    http.Response.ContentLength = 5000;
                    await http.Response.Body.WriteAsync(part);
                    await http.Response.Body.FlushAsync();
                    http.Abort();
                }
                else
                {
                    // Ends properly as HTTP, but not as JSON.
                    await http.Response.Body.WriteAsync(part);
                }
            }
        );
        using var source = server.Source(time);
        Assert.Equal(["a"], (await source.Users().PullAsync()).Records.Select(u => u.SourcedId));
        Assert.Equal([1, 2], Seconds);
    }

    [Fact]
    public async Task A_dead_connection_is_retried_and_then_unreachable()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) =>
            {
                http.Abort();
                return Task.CompletedTask;
            }
        );
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.Unreachable);
        Assert.Null(e.StatusCode);
        Assert.Equal(5, time.Waits.Count);
    }

    [Fact]
    public async Task Nobody_listening_is_unreachable()
    {
        using var closed = new TcpListener(IPAddress.Loopback, 0);
        closed.Start();
        var port = ((IPEndPoint)closed.LocalEndpoint).Port;
        closed.Stop();
        using var source = new RestRosterSource(
            new RosterEndpoint($"http://127.0.0.1:{port}", new BearerCredentials("t")),
            Reading.Options(time)
        );
        await Reading.FaultAsync(() => source.ProbeAsync(), RosterFault.Unreachable);
        Assert.Equal(5, time.Waits.Count);
    }

    [Fact]
    public async Task A_silent_server_times_out_and_is_asked_again()
    {
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, n) =>
            {
                if (n > 1)
                {
                    await Good(http, seen);
                    return;
                }

                time.FireTimeOuts();
                var gone = new TaskCompletionSource();
                await using var registration = http.RequestAborted.Register(gone.SetResult);
                await gone.Task;
            }
        );
        using var source = server.Source(time);
        Assert.Single((await source.Users().PullAsync()).Records);
        Assert.Equal([1], Seconds);
    }

    [Fact]
    public async Task Cancelling_is_no_fault()
    {
        using var cancel = new CancellationTokenSource();
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(503, ""));
        using var source = server.Source(time, o => o with { RetryDelays = [TestTime.TimeOut] });
        var probe = source.ProbeAsync(cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => probe);
    }

    [Fact]
    public async Task A_redirect_is_named_and_not_followed()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Text(302, "", "text/html", ("Location", "https://login.example/x?token=abc"))
        );
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.NotARoster);
        Assert.Contains("login.example", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("abc", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("<html>Sign in</html>", "text/html")]
    [InlineData("""{"statusInfoSet":[{"imsx_codeMajor":"failure"}]}""", "application/json")]
    public async Task A_200_without_a_roster_is_no_empty_roster(string body, string type)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(200, body, type));
        using var source = server.Source(time);
        await source.Users().FaultAsync(RosterFault.NotARoster);
        await source.Demographics().FaultAsync(RosterFault.NotARoster);
        Assert.Empty(time.Waits);
    }

    [Fact]
    public async Task Answers_beyond_the_limit_are_refused_compressed_or_not()
    {
        await using var server = await ScriptedServer.StartAsync(
            async (http, seen, n) =>
            {
                if (n == 1)
                {
                    await http.Text(200, "{\"users\":[{\"x\":\"" + new string(' ', 300_000) + "\"}]}");
                    return;
                }

                http.Response.Headers.ContentEncoding = "gzip";
                await using var zip = new GZipStream(http.Response.Body, CompressionLevel.Fastest);
                await zip.WriteAsync(
                    Encoding.UTF8.GetBytes(n == 2 ? "{\"users\":[{\"x\":\"" + new string(' ', 300_000) + "\"}]}" : Answers.Users("a"))
                );
            }
        );
        using var source = server.Source(time, o => o with { MaxResponseBytes = 200_000 });
        await source.Users().FaultAsync(RosterFault.TooLarge);
        await source.Users().FaultAsync(RosterFault.TooLarge);
        await foreach (var page in source.Users().ReadAsync(TestContext.Current.CancellationToken))
        {
            Assert.Equal("a", page.Records[0].SourcedId);
            break;
        }
    }

    [Fact]
    public async Task A_switched_off_api_says_so()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Text(403, "ForbiddenError: \"Application API Disabled by User\"", "text/html")
        );
        using var source = server.Source(time);
        Assert.Contains(
            "switched this application's API off in Roster Server",
            (await source.Users().FaultAsync(RosterFault.AccessDisabled)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task What_the_server_says_is_quoted_short_clean_and_without_secrets()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Text(403, "<h1>No</h1>\r\n\u0007token-1234 ada@example.org \u202e" + new string('x', 5000), "text/html")
        );
        using var source = server.Source(time);
        var e = await source.Users().FaultAsync(RosterFault.AccessDisabled);
        Assert.Contains("No … … xxx", e.Message, StringComparison.Ordinal);
        Assert.InRange(e.Message.Length, 200, 400);
        Assert.DoesNotContain(e.Message, char.IsControl);
    }

    [Theory]
    [InlineData("se<cr>et")]
    [InlineData("cut<short")]
    [InlineData("left&amp;right")]
    [InlineData("this&that<")]
    public async Task A_secret_that_looks_like_a_tag_or_a_letter_written_out_is_not_quoted(string secret)
    {
        foreach (var said in (string[])[secret, System.Net.WebUtility.HtmlEncode(secret)])
        {
            foreach (
                var page in (string[])[$"No, {said} is wrong", $"<html><head><title>No, {said} is wrong</title></head><body></body></html>"]
            )
            {
                await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(403, page, "text/html"));
                using var source = new RestRosterSource(
                    new RosterEndpoint(server.Url, new OAuth1Credentials("key-1234", secret)),
                    Reading.Options(time)
                );
                var e = await source.Users().FaultAsync(RosterFault.AccessDisabled);
                Assert.EndsWith("It says: No, … is wrong", e.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task A_web_page_is_quoted_by_its_title_as_people_read_it()
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) =>
                http.Text(
                    404,
                    "<!doctype html><html><head><title>Page not found &#xB7; Oak &amp; Elm token&#45;1234</title></head><body><h1>404</h1><nav>Home About</nav></body></html>",
                    "text/html"
                )
        );
        using var source = server.Source(time);
        Assert.EndsWith(
            "It says: Page not found · Oak & Elm …",
            (await source.Users().FaultAsync(RosterFault.NotARoster)).Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("""{"imsx_codeMajor":"failure","imsx_severity":"error","imsx_description":"Say this.","imsx_codeMinor":"invalid_data"}""")]
    [InlineData("""{"statusInfoSet":[{"imsx_codeMajor":"failure","imsx_description":"Say this."}]}""")]
    [InlineData("""{"imsx_StatusInfo":{"imsx_description":"Say this."}}""")]
    [InlineData("""{"error":{"message":"Say this."}}""")]
    [InlineData("""{"status":0,"message":"Say this."}""")]
    public async Task The_sentence_of_an_error_body_is_quoted(string body)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(403, body));
        using var source = server.Source(time);
        Assert.EndsWith(
            "It says: Say this.",
            (await source.Users().FaultAsync(RosterFault.AccessDisabled)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_changed_token_is_used_once_after_a_401()
    {
        var refreshed = 0;
        await using var server = await ScriptedServer.StartAsync(
            (http, seen, _) => seen.Authorization == "Bearer new" ? Good(http, seen) : http.Text(401, "")
        );
        var credentials = new BearerCredentials("old", _ => Task.FromResult<string?>(++refreshed == 1 ? "new" : "newer"));
        using var source = new RestRosterSource(new RosterEndpoint(server.Url, credentials), Reading.Options(time));
        Assert.Single((await source.Users().PullAsync()).Records);
        Assert.Equal((1, 3), (refreshed, server.Requests.Count));
    }

    [Theory]
    [InlineData("old", 1)]
    [InlineData(null, 1)]
    [InlineData("new", 2)]
    public async Task A_token_refused_again_is_refused(string? fresh, int requests)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(401, ""));
        using var source = new RestRosterSource(
            new RosterEndpoint(server.Url, new BearerCredentials("old", _ => Task.FromResult(fresh))),
            Reading.Options(time)
        );
        await source.Users().FaultAsync(RosterFault.CredentialsRefused);
        Assert.Equal(requests, server.Requests.Count);
    }

    [Fact]
    public async Task Signed_requests_carry_a_new_nonce_even_when_repeated_and_sign_what_is_sent()
    {
        await using var server = await ScriptedServer.StartAsync((http, seen, n) => n == 1 ? http.Text(500, "") : Good(http, seen));
        using var source = new RestRosterSource(
            new RosterEndpoint(server.Url, new OAuth1Credentials("key123", "secret456")),
            Reading.Options(time)
        );
        await source.Users(DateTimeOffset.UnixEpoch).PullAsync();

        Assert.Equal(3, server.Requests.Select(r => OAuth1Tests.Fields(r.Authorization)["oauth_nonce"]).Distinct().Count());
        foreach (var request in server.Requests)
        {
            var fields = OAuth1Tests.Fields(request.Authorization);
            var again = new OAuth1Signer("key123", "secret456", OAuthSignature.HmacSha256, sendVersion: false, time).Authorization(
                server.Url + request.Target,
                fields["oauth_timestamp"],
                fields["oauth_nonce"]
            );
            Assert.Equal(request.Authorization, again);
        }
    }

    [Theory]
    [InlineData(6, RosterFault.ClockSkew)]
    [InlineData(-6, RosterFault.ClockSkew)]
    [InlineData(4, RosterFault.CredentialsRefused)]
    public async Task A_wrong_clock_is_told_from_a_wrong_key(int minutes, RosterFault fault)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Text(401, "", "text/plain", ("Date", time.GetUtcNow().AddMinutes(-minutes).ToString("R")))
        );
        using var source = new RestRosterSource(
            new RosterEndpoint(server.Url, new OAuth1Credentials("k", "secret")),
            Reading.Options(time)
        );
        var e = await source.Users().FaultAsync(fault);
        if (fault == RosterFault.ClockSkew)
        {
            Assert.Contains(minutes > 0 ? "6 minutes ahead" : "6 minutes behind", e.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("/MoYP%2FlQ%2BWmG0%3D", "/MoYP%2FlQ%2BWmG0%3D/ims/oneroster/v1p1/orgs?limit=1")]
    [InlineData("/proxy/v1p0/%43a%2f/", "/proxy/v1p0/%43a%2f/ims/oneroster/v1p1/orgs?limit=1")]
    [InlineData("/x/ims/oneroster/rostering/v1p2", "/x/ims/oneroster/rostering/v1p2/orgs?limit=1")]
    public async Task Prefixes_are_sent_verbatim(string prefix, string target)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Json("""{"orgs":[{"sourcedId":"1","name":"N"}]}""", ("x-perm-rev", "r7"))
        );
        using var source = new RestRosterSource(new RosterEndpoint(server.Url + prefix, new BearerCredentials("t")), Reading.Options(time));
        Assert.Equal("N", Assert.Single(await source.ProbeAsync()).Name);
        Assert.Equal("r7", await source.RevisionAsync());
        Assert.All(server.Requests, r => Assert.Equal(target, r.Target));
    }

    [Theory]
    [InlineData("a|b/c d%é", "/ims/oneroster/v1p1/users/a%7Cb%2Fc%20d%25%C3%A9")]
    [InlineData("..", "/ims/oneroster/v1p1/users/%2E%2E")]
    public async Task One_person_is_read_by_an_encoded_key(string id, string target)
    {
        await using var server = await ScriptedServer.StartAsync(
            (http, _, _) => http.Json("{\"user\":{\"sourcedId\":\"" + id + "\",\"givenName\":\"Ada\"}}")
        );
        using var source = server.Source(time);
        Assert.Equal("Ada", (await source.UserAsync(id))!.GivenName);
        Assert.Equal(target, server.Requests[0].Target);
    }

    [Theory]
    [InlineData(404, "", null)]
    [InlineData(200, """{"user":{"sourcedId":"X"}}""", null)]
    [InlineData(200, """{"users":[{"sourcedId":"x","givenName":"in a list"}]}""", "in a list")]
    [InlineData(200, """{"sourcedId":"x","givenName":"bare"}""", "bare")]
    public async Task One_person_is_that_person_or_nobody(int status, string body, string? name)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Text(status, body));
        using var source = server.Source(time);
        Assert.Equal(name, (await source.UserAsync("x"))?.GivenName);
        Assert.Null(await source.UserAsync(" "));
    }

    [Theory]
    [InlineData("""{"imsx_codeMajor":"failure"}""")]
    [InlineData("<html>")]
    [InlineData("[]")]
    public async Task An_answer_without_the_person_is_a_fault(string body)
    {
        await using var server = await ScriptedServer.StartAsync((http, _, _) => http.Json(body));
        using var source = server.Source(time);
        await Reading.FaultAsync(() => source.UserAsync("x"), RosterFault.NotARoster);
    }
}
