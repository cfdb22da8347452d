using Rollcall.Sandbox.District;

namespace Rollcall.Sandbox;

/// <summary>
/// A pretend district on one day: what the server serves, and the ledger that says what is true. It never changes; another day is another
/// instance.
/// </summary>
public sealed class SandboxDistrict
{
    internal SandboxDistrict(World world)
    {
        World = world;
        Orgs =
        [
            new SandboxOrg(World.DistrictOrg, world.Options.TenantName, "district", "4957000"),
            new SandboxOrg(World.DepartmentOrg, "Central Office", "department", ""),
            .. world.Schools.Select(s => new SandboxOrg(s.Id, s.Name, "school", s.Index % 5 == 4 ? "" : $"4957{s.Index + 1:D3}")),
        ];
    }

    /// <summary>The day this is.</summary>
    public int Day => World.Day;

    /// <summary>The options it was made from.</summary>
    public SandboxOptions Options => World.Options;

    /// <summary>The district org first, then a department, then the schools.</summary>
    public IReadOnlyList<SandboxOrg> Orgs { get; }

    /// <summary>The schools alone.</summary>
    public IEnumerable<SandboxOrg> Schools => Orgs.Skip(2);

    /// <summary>Everybody who was ever in the roster up to this day, made while it is read: for big districts read it once.</summary>
    public IEnumerable<SandboxPerson> People => World.People.Select(Describe);

    /// <summary>How many people <see cref="People"/> has.</summary>
    public int PeopleCount => World.Persons.Count;

    /// <summary>What happened from day 1 to this day, in order.</summary>
    public IReadOnlyList<SandboxEvent> Events => World.Events;

    internal World World { get; }

    /// <summary>The district on a day, without a server.</summary>
    /// <param name="options">Options; their day is taken where <paramref name="day"/> is null.</param>
    /// <param name="day">The day, 0 to 3660.</param>
    /// <exception cref="ArgumentOutOfRangeException">Another day, or no students.</exception>
    public static SandboxDistrict At(SandboxOptions options, int? day = null) => new(new World(options, day ?? options.Day));

    /// <summary>The person with this sourcedId, or null if there never was one.</summary>
    public SandboxPerson? Find(string sourcedId) => World.Find(sourcedId) is { } person ? Describe(person) : null;

    internal SandboxPerson Describe(Person p)
    {
        var (first, second) = World.Orgs(p);
        var (state, local, barcode) = World.Ids(p);
        return new SandboxPerson
        {
            SourcedId = p.Id,
            Group = p.Group,
            Role = p.Role.ToString().ToLowerInvariant(),
            Presence = p.Presence,
            GivenName = p.Given.Text,
            MiddleName = p.Middle?.Text ?? "",
            FamilyName = p.Family.Text,
            Grade = World.Grade(p),
            BirthDate = World.BirthDate(p),
            Sex = World.Sex(p),
            Phone = World.Phone(p),
            Email = World.Email(p),
            Username = World.Username(p),
            Identifier = World.Identifier(p),
            Enabled = World.Enabled(p),
            Orgs = second < 0 ? [World.OrgId(first)] : [World.OrgId(first), World.OrgId(second)],
            PrimaryOrg = World.OrgId(p.School),
            UserIds =
            [
                .. new (string Type, string? Identifier)[] { ("StateID", state), ("LocalID", local), ("Barcode", barcode) }
                    .Where(id => id.Identifier is not null)
                    .Select(id => new SandboxUserId(id.Type, id.Identifier!)),
            ],
            Homerooms = [.. HomeroomsOf(p).OrderBy(c => c.Id, StringComparer.Ordinal).Select(Describe)],
            Guardians = p.Role != Role.Student ? [] : [.. p.Relatives.Where(g => g.Presence == SandboxPresence.Present).Select(Contact)],
        };
    }

    private IEnumerable<Klass> HomeroomsOf(Person p) =>
        p.Role == Role.Teacher
            ? World.Taught(p).Where(c => c.Kind == KlassKind.Homeroom && c.Teacher == p)
            : new[] { p.Room, p.SecondRoom }.OfType<Klass>();

    private static SandboxHomeroom Describe(Klass c) =>
        new(
            c.Id,
            c.School.Id,
            c.Code,
            c.Location,
            c.Title,
            c.Teacher is not { } teacher ? "" : $"{teacher.Family.Text}, {teacher.Given.Text}"
        );

    private SandboxContact Contact(Person g)
    {
        string[] parts = [g.Given.Text, g.Family.Text, World.Phone(g)];
        return new SandboxContact(g.Id, string.Join(' ', parts.Where(part => part.Length > 0)), World.Email(g));
    }
}
