using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.ClassLink;
using Rollcall.OneRoster.Rest;
using Rollcall.OneRoster.Tests.Client;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>The token endpoints that vendors have, and what goes wrong with tokens and clocks, between the client and the other side.</summary>
public sealed class SandboxTokenTests : IAsyncLifetime
{
    private static readonly RosterClientOptions s_options = RosterClientOptions.Default with
    {
        AllowPrivateAddresses = true,
        PageSize = 100,
        Jitter = TimeSpan.Zero,
        RetryDelays = [TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(1)],
    };

    private SandboxServer _server = null!;

    private string Origin => _server.Url.GetLeftPart(UriPartial.Authority);

    public async ValueTask InitializeAsync() =>
        _server = await SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 60,
                Schools = 2,
                Api = SandboxApi.OneRoster12,
                ConsumerKey = "key:of/signs+",
                ConsumerSecret = "p%ss&w=rd:/",
            }
        );

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Theory]
    [InlineData("", "/token")]
    [InlineData("token-basic-plain", "/token")]
    [InlineData("token-in-body", "/token")]
    [InlineData("token-in-query", "/token", TokenRequestForm.Query)]
    [InlineData("token-as-json", "/token")]
    [InlineData("token-refuses-scope", "/token")]
    [InlineData("token-needs-scope", "/token")]
    [InlineData("token-needs-scope,token-in-body,token-odd-types", "/token")]
    [InlineData("token-life-unstated", "/token")]
    [InlineData("token-elsewhere", "/campus/oauth2/token?appName=roster")]
    [InlineData("token-core-only", "/token")]
    public async Task Each_vendors_way_is_found_and_the_roster_is_read(string faults, string path, TokenRequestForm? form = null)
    {
        _server.Faults.Set(faults);
        using var source = await FindAsync(path, form);
        Assert.Equal(await CountAsync(), (await source.Users().PullAsync()).Records.Count);
        var demographics = await source.Demographics().PullAsync();
        Assert.Equal(faults == "token-core-only", demographics.Result.NotShared);
    }

    [Fact]
    public async Task A_refused_key_is_said_to_be_refused()
    {
        _server.Faults.Set("token-refused");
        var e = await Reading.FaultAsync(() => FindAsync("/token", null), RosterFault.CredentialsRefused);
        Assert.DoesNotContain("w=rd", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_token_withdrawn_in_the_middle_is_fetched_anew()
    {
        var people = await CountAsync();
        using var source = await FindAsync("/token", null);
        _server.ClearRequests();
        _server.Faults.Set("rotate-token-at=3,clamp=20");
        Assert.Equal(people, (await source.Users().PullAsync()).Records.Count);
        Assert.Equal(2, _server.Requests.Count(r => r.Path == "/token"));
        Assert.Single(_server.Requests, r => r.Status == 401);
    }

    [Theory]
    [InlineData("token-204", RosterFault.NotARoster)]
    [InlineData("token-500", RosterFault.Unreachable)]
    public async Task A_token_endpoint_that_hands_out_no_more_ends_the_run_and_not_the_roster(string fault, RosterFault means)
    {
        using var source = await FindAsync("/token", null);
        _server.Faults.Set($"rotate-token-at=3,clamp=20,{fault}");
        await source.Users().FaultAsync(means);
        _server.Faults.Set($"rotate-token-at=1,{fault}@1");
        Assert.NotNull(
            means == RosterFault.NotARoster
                ? await Reading.FaultAsync(() => source.UserAsync("nobody"), means)
                : await source.Users().PullAsync()
        );
    }

    [Fact]
    public async Task A_token_that_lives_for_a_second_is_renewed_before_it_ends()
    {
        var people = await CountAsync();
        using var source = await FindAsync("/token", null);
        _server.ClearRequests();
        _server.Faults.Set("token-life=1,slow=100,clamp=10");
        Assert.Equal(people, (await source.Users().PullAsync()).Records.Count);
        Assert.True(_server.Requests.Count(r => r.Path == "/token") > 1);
        Assert.DoesNotContain(_server.Requests, r => r.Status == 401);
    }

    /// <summary>A list in its old form says nothing of who is enabled: whoever is on it counts as such. Two applications are two in either form.</summary>
    [Theory]
    [InlineData("", TenantState.NotEnabled)]
    [InlineData("old-form:applications", TenantState.Valid)]
    public async Task The_list_of_applications_is_read_in_both_of_its_forms(string faults, TenantState disabled)
    {
        _server.Faults.Set(faults);
        using var directory = new ClassLinkDirectory(_server.Options.PartnerKey, Origin, s_options);
        Assert.Equal(TenantState.Valid, (await directory.CheckAsync(_server.Options.TenantId)).State);
        Assert.Equal(disabled, (await directory.CheckAsync(SandboxTenants.Disabled)).State);
        var several = await directory.CheckAsync(SandboxTenants.TwoApplications);
        Assert.Equal((TenantState.Ambiguous, 2), (several.State, several.Candidates.Count));
    }

    [Fact]
    public async Task A_clock_that_is_wrong_is_told_from_a_wrong_key()
    {
        _server.Faults.Set("clock-behind=90");
        using var source = new RestRosterSource(
            new RosterEndpoint(Origin, new OAuth1Credentials(_server.Options.ConsumerKey, _server.Options.ConsumerSecret)),
            s_options
        );
        var e = await source.Users().FaultAsync(RosterFault.ClockSkew);
        Assert.Contains("90 minutes ahead of", e.Message, StringComparison.Ordinal);
        Assert.InRange(TimeProvider.System.GetUtcNow() - source.ServerTime!.Value, TimeSpan.FromMinutes(89), TimeSpan.FromMinutes(91));
    }

    [Fact]
    public async Task Records_without_end_end()
    {
        using var source = new RestRosterSource(
            new RosterEndpoint(_server.ProxyPrefix, new BearerCredentials(_server.Bearer)),
            s_options with
            {
                MaxRequests = 40,
            }
        );
        _server.Faults.Set("endless");
        var e = await source.Users().FaultAsync(RosterFault.TooLarge);
        Assert.Contains("was asked 40 times", e.Message, StringComparison.Ordinal);
        Assert.Equal(40, _server.Requests.Count);
    }

    private async Task<int> CountAsync()
    {
        using var source = new RestRosterSource(new RosterEndpoint(_server.ProxyPrefix, new BearerCredentials(_server.Bearer)), s_options);
        return (await source.Users().PullAsync()).Records.Count;
    }

    private async Task<RestRosterSource> FindAsync(string path, TokenRequestForm? form)
    {
        var (key, secret) = (_server.Options.ConsumerKey, _server.Options.ConsumerSecret);
        var found = await RosterServers.FindAsync(
            new RosterServerQuery
            {
                Address = Origin,
                TokenUrl = Origin + path,
                Key = key,
                Secret = secret,
                Form = form,
            },
            s_options,
            TestContext.Current.CancellationToken
        );
        Assert.Equal(OneRosterVersion.V12, found.Version);
        return new RestRosterSource(
            new RosterEndpoint(found.Address, new OAuth2Credentials(Origin + path, key, secret, found.Form!.Value) { Scope = found.Scope }),
            s_options with
            {
                ServicePath = "",
            }
        );
    }
}
