using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.ClassLink;

/// <summary>Opens a district's roster in each of the ways that ClassLink offers. Nothing is sent by opening.</summary>
/// <param name="options">Behaviour on the wire; <see langword="null"/> for the defaults.</param>
public sealed class ClassLinkConnections(RosterClientOptions? options = null)
{
    /// <summary>Through the proxy with the partner's key. After a 401 the directory is read again, once, for a changed token.</summary>
    /// <param name="directory">The partner's list; must outlive the source, which does not own it.</param>
    /// <param name="application">The district's record, from a <see cref="TenantCheck"/>.</param>
    /// <exception cref="RosterException">The record has no token or application id (<see cref="RosterFault.AccessDisabled"/>), or the address is refused.</exception>
    public RestRosterSource OpenProxy(ClassLinkDirectory directory, ClassLinkApplication application)
    {
        ArgumentNullException.ThrowIfNull(directory);
        ArgumentNullException.ThrowIfNull(application);
        if (!application.HasProxy)
        {
            throw new RosterException(
                RosterFault.AccessDisabled,
                "ClassLink hands out no access token for this district. An administrator of the district enables the application in Roster Server."
            );
        }

        var id = application.OneRosterApplicationId!;
        var credentials = new BearerCredentials(
            application.Bearer!,
            async cancellationToken =>
                (await ApplicationsAsync(directory, cancellationToken))
                    .FirstOrDefault(a =>
                        a is { IsOn: true, IsActive: true, HasProxy: true }
                        && string.Equals(a.TenantId, application.TenantId, StringComparison.Ordinal)
                        && string.Equals(a.OneRosterApplicationId, id, StringComparison.Ordinal)
                    )
                    ?.Bearer
        )
        {
            Refusal =
                "the access token that ClassLink lists (status 401): the district has not authorised this application. An administrator of the district enables it in Roster Server.",
        };
        return new RestRosterSource(new RosterEndpoint($"{directory.BaseUrl}/{id}", credentials), options);
    }

    /// <summary>The list once more, in the middle of reading a roster. Its statuses are not handed on: to a reader of records a 404 means
    /// that a person does not exist, a 403 that a collection is not shared, and a 400 that sorting is not understood.</summary>
    private static async Task<IReadOnlyList<ClassLinkApplication>> ApplicationsAsync(
        ClassLinkDirectory directory,
        CancellationToken cancellationToken
    )
    {
        try
        {
            return await directory.ApplicationsAsync(cancellationToken);
        }
        catch (RosterException e)
        {
            throw new RosterException(
                e.Fault,
                $"The district's access token is refused, and ClassLink's list of applications, which may have a new one, cannot be read: {e.Message}",
                e
            );
        }
    }

    /// <summary>Through the proxy with what the Partner Portal shows: the address with the application id, in either of its forms,
    /// and the access token.</summary>
    /// <exception cref="RosterException">Address or token are unusable or refused.</exception>
    public RestRosterSource OpenPasted(string prefix, string token) =>
        new(new RosterEndpoint(prefix, new BearerCredentials(token)), options);

    /// <summary>Directly at the district's roster server, with the endpoint, key and secret that Roster Server shows.</summary>
    /// <exception cref="RosterException">Address, key or secret are unusable or refused.</exception>
    public RestRosterSource OpenDirect(
        string endpointUrl,
        string key,
        string secret,
        OAuthSignature signature = OAuthSignature.HmacSha256
    ) => new(new RosterEndpoint(endpointUrl, new OAuth1Credentials(key, secret, signature)), options);
}
