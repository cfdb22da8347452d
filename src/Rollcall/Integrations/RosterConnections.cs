using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.ClassLink;
using Rollcall.OneRoster.Rest;
using Rollcall.Storage;

namespace Rollcall.Integrations;

/// <summary>The secrets of a connection, as they are protected and stored. What a mode does not need is null.</summary>
internal sealed record ConnectionSecret(string? Token = null, string? Secret = null)
{
    public string ToJson() => JsonSerializer.Serialize(this);

    public static ConnectionSecret Parse(string json) => JsonSerializer.Deserialize<ConnectionSecret>(json) ?? new ConnectionSecret();
}

/// <summary>A tenant shares its roster with several applications of the partner: somebody says which one is read.</summary>
internal sealed class ApplicationChoiceException(TenantCheck check)
    : RollcallException(
        check.Candidates.Count == 0
            ? check.Message
            : $"{check.Message} {(check.Candidates.Count == 1 ? "There is" : "There are")}: {string.Join(", ", check.Candidates.Select(c => $"{NameOf(c)} ({c.OneRosterApplicationId})"))}; '--application ID' on the command line."
    )
{
    /// <summary>One was chosen, and is no longer there.</summary>
    public bool IsGone => check.State == TenantState.ChoiceGone;

    /// <summary>What can be chosen: the id, and what people call it.</summary>
    public IReadOnlyList<(string Id, string Name)> Choices => [.. check.Candidates.Select(c => (c.OneRosterApplicationId!, NameOf(c)))];

    private static string NameOf(ClassLinkApplication application) => Patrons.Text.Clean(application.Name) ?? "without a name";
}

/// <summary>Opens a district's roster.</summary>
public sealed class RosterConnections(RollcallOptions options, Secrets secrets, RollcallDatabase database, TimeProvider time)
{
    internal const string PartnerKeySetting = "classlink.partner-key";

    /// <summary>The address that the operator sends the partner key to, where it is not ClassLink's own.</summary>
    internal const string ProxySetting = "classlink.proxy";

    /// <summary>A sync waits for a service that is away for a while; somebody who looks at a screen is told soon.</summary>
    private RosterClientOptions ClientOptions(bool somebodyWaits)
    {
        var client = RosterClientOptions.Default with
        {
            AllowPrivateAddresses = options.AllowPrivateAddresses,
            PrivateAddressHint = RollcallOptions.PrivateAddressHint,
            PageSize = options.PageSize ?? RosterClientOptions.Default.PageSize,
            Time = time,
        };
        return somebodyWaits
            ? client with
            {
                RetryDelays = [TimeSpan.FromSeconds(1)],
                Timeout = TimeSpan.FromSeconds(30),
                LongestRetryAfter = TimeSpan.FromSeconds(5),
            }
            : client;
    }

    /// <summary>Opens the connection that the settings describe. The caller disposes it.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="kind">The service.</param>
    /// <param name="settings">How it is reached.</param>
    /// <param name="storedSecret">Its secret, protected.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="partnerKey">A partner key that is not stored yet.</param>
    /// <param name="somebodyWaits">Somebody looks at a screen.</param>
    /// <param name="feed">How far a CSV feed has been read.</param>
    /// <param name="connecting">It is only tried, and whether the district may have the tenant is asked elsewhere.</param>
    /// <exception cref="RollcallException">Nothing is connected, or the address may not be used.</exception>
    /// <exception cref="RosterException">The service refuses.</exception>
    public async Task<IRosterSource> OpenAsync(
        int districtId,
        IntegrationKind kind,
        IntegrationSettings settings,
        string? storedSecret,
        CancellationToken cancellationToken,
        string? partnerKey = null,
        bool somebodyWaits = false,
        FeedState? feed = null,
        bool connecting = false
    )
    {
        if (settings.Mode is not { } mode)
        {
            throw new RollcallException(
                $"No roster is connected. Connect one first: under SIS Integrations, or with 'rollcall {IntegrationWords.Verb(kind)} connect'."
            );
        }

        if (kind == IntegrationKind.OneRosterCsv)
        {
            return await CsvFeedSource.OpenAsync(settings.Url ?? throw Missing("folder"), feed, time, cancellationToken);
        }

        CheckAddress(settings.Url);
        var secret = storedSecret is null ? new ConnectionSecret() : ConnectionSecret.Parse(secrets.Unprotect(districtId, storedSecret));
        if (kind == IntegrationKind.OneRoster)
        {
            return new RestRosterSource(
                new RosterEndpoint(settings.Url ?? throw Missing("address"), Credentials(mode)),
                ClientOptions(somebodyWaits) with
                {
                    ServicePath = "",
                }
            );
        }

        if (!connecting)
        {
            await CheckTenantIsOwnAsync(districtId, settings.TenantId, orNobodys: false, cancellationToken);
        }

        var connections = new ClassLinkConnections(ClientOptions(somebodyWaits));
        switch (mode)
        {
            case ConnectionMode.Proxy:
                var directory = await OpenDirectoryAsync(settings.Url, cancellationToken, partnerKey, somebodyWaits);
                var check = await CheckTenantAsync(directory, settings, cancellationToken);
                return check is { State: TenantState.Valid, Application: { } application }
                    ? connections.OpenProxy(directory, application)
                    : throw new RollcallException(check.Message);
            case ConnectionMode.Prefix:
                return connections.OpenPasted(settings.Url!, secret.Token ?? throw Missing("token"));
            case ConnectionMode.Direct:
                return connections.OpenDirect(
                    settings.Url!,
                    settings.Key ?? throw Missing("key"),
                    secret.Secret ?? throw Missing("secret"),
                    Hash(settings.Signature)
                );
            default:
                throw new RollcallException($"This version cannot read a roster by '{mode}'. Connect by proxy, prefix or direct.");
        }

        RosterCredentials Credentials(ConnectionMode mode) =>
            mode switch
            {
                ConnectionMode.Bearer => new BearerCredentials(secret.Token ?? throw Missing("token")),
                ConnectionMode.ClientCredentials => new OAuth2Credentials(
                    settings.TokenUrl ?? throw Missing("token address"),
                    settings.Key ?? throw Missing("key"),
                    secret.Secret ?? throw Missing("secret"),
                    settings.TokenForm ?? TokenRequestForm.Basic
                )
                {
                    Scope = settings.Scope,
                },
                ConnectionMode.Direct => new OAuth1Credentials(
                    settings.Key ?? throw Missing("key"),
                    secret.Secret ?? throw Missing("secret"),
                    Hash(settings.Signature)
                )
                {
                    SendVersion = true,
                },
                _ => throw new RollcallException(
                    $"A OneRoster server is not read by '{mode}'. Connect again: under SIS Integrations, or with 'rollcall oneroster connect'."
                ),
            };

        RollcallException Missing(string what) =>
            new(
                $"The connection has no {what}. Connect again: under SIS Integrations, or with 'rollcall {IntegrationWords.Verb(kind)} connect'."
            );
    }

    /// <summary>What was allowed when the district connected may have been taken back since.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="tenantId">The tenant.</param>
    /// <param name="orNobodys">One that no district has is good too: the operator is about to allow it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">The tenant is another district's, or nobody's.</exception>
    internal async Task CheckTenantIsOwnAsync(int districtId, string? tenantId, bool orNobodys, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContextAsOwner();
        var holder = await context
            .DistrictTenants.Where(t => t.TenantId == tenantId)
            .Select(t => (int?)t.DistrictId)
            .SingleOrDefaultAsync(cancellationToken);
        if (holder is null ? !orNobodys : holder != districtId)
        {
            throw new RollcallException(
                $"This district may not read tenant {tenantId} any more: this installation's operator took it back. Connect with the district's own Tenant ID."
            );
        }
    }

    /// <summary>Finds out where and how a OneRoster server wants to be asked.</summary>
    /// <exception cref="RollcallException">The address may not be used.</exception>
    /// <exception cref="RosterException">The service refuses, or there is none.</exception>
    internal Task<RosterServer> FindServerAsync(RosterServerQuery query, CancellationToken cancellationToken)
    {
        CheckAddress(query.Address);
        return RosterServers.FindAsync(query, ClientOptions(somebodyWaits: true), cancellationToken);
    }

    internal static OAuthSignature Hash(string? signature) =>
        signature == "HMAC-SHA1" ? OAuthSignature.HmacSha1 : OAuthSignature.HmacSha256;

    /// <summary>Asks ClassLink for a tenant.</summary>
    /// <exception cref="ApplicationChoiceException">Somebody has to choose among several applications.</exception>
    /// <exception cref="RosterException">ClassLink is out of reach, or refuses the partner key.</exception>
    internal static async Task<TenantCheck> CheckTenantAsync(
        ClassLinkDirectory directory,
        IntegrationSettings settings,
        CancellationToken cancellationToken
    )
    {
        try
        {
            var check = (await directory.CheckAsync(settings.TenantId, cancellationToken)).With(settings.ApplicationId);
            return check.State is TenantState.Ambiguous or TenantState.ChoiceGone ? throw new ApplicationChoiceException(check) : check;
        }
        catch (RosterException e) when (e.Fault == RosterFault.CredentialsRefused || e.StatusCode == 403)
        {
            // The one credential of this call is the partner key: nobody should look for a secret or a token.
            throw new RollcallException(
                "ClassLink refuses this installation's partner key. Its operator stores the right one, as the ClassLink Partner Portal shows it: rollcall operator partner-key --file F",
                e
            );
        }
    }

    /// <summary>ClassLink's list of the districts that share their roster with this installation.</summary>
    /// <exception cref="RollcallException">No partner key is stored.</exception>
    public async Task<ClassLinkDirectory> OpenDirectoryAsync(
        string? proxy,
        CancellationToken cancellationToken,
        string? partnerKey = null,
        bool somebodyWaits = false
    )
    {
        if (partnerKey is not null)
        {
            CheckAddress(proxy);
            return new ClassLinkDirectory(partnerKey, proxy, ClientOptions(somebodyWaits));
        }

        await using var context = database.CreateContextAsOwner();
        var key =
            await context.InstallationSettings.FindAsync([PartnerKeySetting], cancellationToken)
            ?? throw new RollcallException(
                "This installation has no ClassLink partner key. Its operator stores one with 'rollcall operator partner-key --file F'; without one, connect directly, with the district's own key and secret ('--direct' on the command line)."
            );
        CheckAddress(proxy);
        return new ClassLinkDirectory(secrets.Unprotect(0, key.Value), proxy, ClientOptions(somebodyWaits));
    }

    /// <summary>Refuses addresses that customers may not make the server call.</summary>
    public void CheckAddress(string? address)
    {
        if (address is not null && options.Addresses().Refusal(address) is { } refusal)
        {
            throw new RollcallException(refusal);
        }
    }
}
