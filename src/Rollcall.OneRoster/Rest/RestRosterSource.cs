using System.Text.Json;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Probe;

namespace Rollcall.OneRoster.Rest;

/// <summary>Where a roster is and who asks for it.</summary>
/// <param name="Address">The address up to, and not including, the path of the service: a direct server
/// (<c>https://district.example</c>), a proxy with its application id, percent-encoded as it was handed out
/// (<c>https://proxy.example/MoYP%3D</c>), or any other prefix. It is used verbatim. An address that goes on to
/// <c>/ims/oneroster/…</c> is taken as the whole base, and <see cref="RosterClientOptions.ServicePath"/> is left aside.</param>
/// <param name="Credentials">Who asks.</param>
public sealed record RosterEndpoint(string Address, RosterCredentials Credentials);

/// <summary>A OneRoster 1.1 or 1.2 REST provider. Sends one request at a time. Every failure is a
/// <see cref="RosterException"/>; cancellation is an <see cref="OperationCanceledException"/>.</summary>
/// <remarks>When rows kept shifting between pages (<see cref="WalkResult.RowsShifted"/>), a record may be handed out again on a later
/// page because it came again with a later date. Whoever keeps records must let a later one replace an earlier one of the same
/// <c>sourcedId</c>.</remarks>
public sealed class RestRosterSource : IRosterSource, IRosterProbe
{
    private readonly RosterClientOptions options;
    private readonly BaseAddress address;
    private readonly string path;
    private readonly Transport transport;

    /// <summary>Prepares the source; nothing is sent yet.</summary>
    /// <exception cref="RosterException">The address is unusable or refused (<see cref="RosterFault.Unreachable"/>).</exception>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public RestRosterSource(RosterEndpoint endpoint, RosterClientOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        this.options = options ?? RosterClientOptions.Default;
        this.options.Check();
        var guard = new AddressGuard(this.options);
        address = new BaseAddress(endpoint.Address, guard);
        var service = this.options.ServicePath.Trim('/');
        path = address.HasServicePath || service.Length == 0 ? "" : "/" + service;
        transport = new Transport(address, endpoint.Credentials, guard, this.options);
    }

    /// <summary>What the server's own clock said in the first answer that this source got; <see langword="null"/> before it, and when the
    /// server does not say. Whoever asks for changes since a read goes from here: records are dated by the server's clock.</summary>
    public DateTimeOffset? ServerTime => transport.ServerTime;

    /// <summary>The host that is asked, for messages and logs.</summary>
    public string Host => address.Host;

    /// <inheritdoc/>
    public ICollectionWalk<Org> Orgs() => Orgs(null);

    /// <inheritdoc/>
    public ICollectionWalk<AcademicSession> AcademicSessions() => AcademicSessions(null);

    /// <inheritdoc/>
    public ICollectionWalk<Class> Classes() => Classes(null);

    /// <inheritdoc/>
    public ICollectionWalk<User> Users() => Users(null);

    /// <inheritdoc/>
    public ICollectionWalk<Enrollment> Enrollments() => Enrollments(null);

    /// <inheritdoc/>
    public ICollectionWalk<Demographics> Demographics() => Demographics(null);

    /// <summary>Organizations changed after a time (<c>dateLastModified</c> filter); all of them for <see langword="null"/>. A
    /// filtered walk may be empty, misses changes by nature (school moves and removals often leave the date alone), and nobody's absence may be concluded from it.</summary>
    public ICollectionWalk<Org> Orgs(DateTimeOffset? modifiedAfter) =>
        Walk(RosterCollection.Orgs, "orgs", RecordParsers.Org, modifiedAfter);

    /// <summary>Sessions changed after a time; see <see cref="Orgs(DateTimeOffset?)"/>.</summary>
    public ICollectionWalk<AcademicSession> AcademicSessions(DateTimeOffset? modifiedAfter) =>
        Walk(RosterCollection.AcademicSessions, "academicSessions", RecordParsers.AcademicSession, modifiedAfter);

    /// <summary>Classes changed after a time; see <see cref="Orgs(DateTimeOffset?)"/>.</summary>
    public ICollectionWalk<Class> Classes(DateTimeOffset? modifiedAfter) =>
        Walk(RosterCollection.Classes, "classes", RecordParsers.Class, modifiedAfter);

    /// <summary>People changed after a time; see <see cref="Orgs(DateTimeOffset?)"/>.</summary>
    public ICollectionWalk<User> Users(DateTimeOffset? modifiedAfter) =>
        Walk(RosterCollection.Users, "users", RecordParsers.User, modifiedAfter);

    /// <summary>Enrollments changed after a time; see <see cref="Orgs(DateTimeOffset?)"/>.</summary>
    public ICollectionWalk<Enrollment> Enrollments(DateTimeOffset? modifiedAfter) =>
        Walk(RosterCollection.Enrollments, "enrollments", RecordParsers.Enrollment, modifiedAfter);

    /// <summary>Demographics changed after a time; see <see cref="Orgs(DateTimeOffset?)"/>. No more is asked for than what is read of them.</summary>
    public ICollectionWalk<Demographics> Demographics(DateTimeOffset? modifiedAfter) =>
        Walk(
            RosterCollection.Demographics,
            "demographics",
            RecordParsers.Demographics,
            modifiedAfter,
            new Selection<Demographics>(
                "sourcedId,status,dateLastModified,birthDate,sex",
                static d => d.SourcedId is not null && (d.BirthDate is not null || d.BirthDateBlank || d.Sex is not null)
            )
        );

    /// <summary>Reads one organization, to prove that the address, the credentials and the permission are right.</summary>
    /// <returns>What came: usually one organization, none when the district shares none, more when the server ignores <c>limit</c>.</returns>
    public async Task<IReadOnlyList<Org>> ProbeAsync(CancellationToken cancellationToken = default) =>
        (await ProbePageAsync(cancellationToken)).Orgs;

    /// <summary>The provider's revision of data and permissions (<c>x-perm-rev</c>, a header of ClassLink's); <see langword="null"/> when it
    /// sends none. An unchanged revision means that a full read would bring nothing new.</summary>
    public async Task<string?> RevisionAsync(CancellationToken cancellationToken = default) =>
        (await ProbePageAsync(cancellationToken)).Revision;

    /// <summary>Reads one person.</summary>
    /// <returns>The person; <see langword="null"/> when the provider knows none by exactly this key.</returns>
    public Task<User?> UserAsync(string sourcedId, CancellationToken cancellationToken = default) =>
        OneAsync(
            "users",
            sourcedId,
            static json => SingleReader.Read(json, "user"u8, "users"u8, RecordParsers.User),
            static u => u.SourcedId,
            cancellationToken
        );

    /// <summary>Reads one person's demographics.</summary>
    /// <returns>The demographics; <see langword="null"/> when the provider has none by exactly this key.</returns>
    public Task<Demographics?> DemographicsOfAsync(string sourcedId, CancellationToken cancellationToken = default) =>
        OneAsync(
            "demographics",
            sourcedId,
            static json => SingleReader.Read(json, "demographic"u8, "demographics"u8, RecordParsers.Demographics),
            static d => d.SourcedId,
            cancellationToken
        );

    private async Task<T?> OneAsync<T>(
        string collection,
        string sourcedId,
        Func<byte[], T> read,
        Func<T, string?> idOf,
        CancellationToken cancellationToken
    )
        where T : class
    {
        ArgumentNullException.ThrowIfNull(sourcedId);
        if (Blank.Is(sourcedId))
        {
            return null;
        }

        try
        {
            var record = await transport.GetAsync(
                () => address.With($"{path}/{collection}/{BaseAddress.Segment(sourcedId)}"),
                lighten: null,
                async (_, body, token) =>
                {
                    var json = await ReadAllAsync(body, token);
                    try
                    {
                        return read(json);
                    }
                    catch (JsonException)
                    {
                        throw new NotAPageException("answered with something that is not valid JSON");
                    }
                },
                cancellationToken
            );

            // A server that compares without regard to case, or falls back to anything else, would hand out another person.
            return string.Equals(idOf(record), sourcedId, StringComparison.Ordinal) ? record : null;
        }
        catch (RosterException e) when (e is { AtToken: false, StatusCode: 404 or 204 })
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public Task<ProbeReport> ProbeAsync(
        ProbeOptions options,
        IProgress<string>? progress = null,
        CancellationToken cancellationToken = default
    ) => new RestProbe(this, options, this.options.Time, progress, cancellationToken).RunAsync();

    /// <inheritdoc/>
    public void Dispose() => transport.Dispose();

    internal string ServiceAddress => address.With(path);

    /// <summary>A walk that tells what each response looked like.</summary>
    internal CollectionWalk<T> Watched<T>(RosterCollection collection, string key, RecordParser<T> parse, Action<PageSeen> observe)
        where T : RosterRecord => new(transport, address, path, Host, collection, key, parse, options, null, observe);

    /// <summary>One request of any route and parameters; the body as it came.</summary>
    internal Task<(byte[] Body, string? Total)> AskAsync(string routeAndQuery, CancellationToken cancellationToken) =>
        transport.GetAsync(
            () => address.With($"{path}/{routeAndQuery}"),
            lighten: null,
            static async (response, body, token) =>
                (
                    await ReadAllAsync(body, token),
                    response.Headers.TryGetValues("x-total-count", out var values) ? string.Join(',', values).Trim() : null
                ),
            cancellationToken
        );

    private async Task<(List<Org> Orgs, string? Revision)> ProbePageAsync(CancellationToken cancellationToken) =>
        await transport.GetAsync(
            () => address.With(path + "/orgs?limit=1"),
            lighten: null,
            static async (response, body, token) =>
            {
                var page = await new PageReader<Org>("orgs", RecordParsers.Org, new ReadContext()).ReadAsync(body, token);
                var revision = response.Headers.TryGetValues("x-perm-rev", out var values) ? string.Join(',', values).Trim() : null;
                return (page.Records, string.IsNullOrEmpty(revision) ? null : revision);
            },
            cancellationToken
        );

    private CollectionWalk<T> Walk<T>(
        RosterCollection collection,
        string key,
        RecordParser<T> parse,
        DateTimeOffset? modifiedAfter,
        Selection<T>? selection = null
    )
        where T : RosterRecord => new(transport, address, path, Host, collection, key, parse, options, modifiedAfter, null, selection);

    internal static async ValueTask<byte[]> ReadAllAsync(Stream body, CancellationToken cancellationToken)
    {
        using var all = new MemoryStream();
        await body.CopyToAsync(all, cancellationToken);
        return all.ToArray();
    }
}
