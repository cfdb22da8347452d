namespace Rollcall.Sandbox;

/// <summary>The groups in which a library sees people of a roster.</summary>
public enum SandboxRoleGroup
{
    /// <summary>Role <c>student</c>.</summary>
    Student,

    /// <summary>Role <c>teacher</c>.</summary>
    Teacher,

    /// <summary>Administrators and aides.</summary>
    Admin,

    /// <summary>Parents, guardians and relatives.</summary>
    Guardian,
}

/// <summary>Whether the roster still has a person.</summary>
public enum SandboxPresence
{
    /// <summary>Served as active.</summary>
    Present,

    /// <summary>Served as a row to be deleted.</summary>
    Deleted,

    /// <summary>Not served at all.</summary>
    Gone,
}

/// <summary>What truly happened to somebody on a day.</summary>
public enum SandboxEventKind
{
    /// <summary>Appeared for the first time.</summary>
    Arrived,

    /// <summary>Left; the row is served as deleted for some days.</summary>
    Deleted,

    /// <summary>Left; the row was simply not there any more.</summary>
    Vanished,

    /// <summary>A deleted row is served no longer.</summary>
    Purged,

    /// <summary>Came back under the same sourcedId.</summary>
    Returned,

    /// <summary>Now belongs to another school.</summary>
    Moved,

    /// <summary>Another family name.</summary>
    Renamed,

    /// <summary>Another grade.</summary>
    Regraded,

    /// <summary>Another homeroom at the same school.</summary>
    HomeroomChanged,

    /// <summary>Another e-mail address.</summary>
    EmailChanged,

    /// <summary>Another phone number.</summary>
    PhoneChanged,

    /// <summary>A corrected date of birth: the user's own record does not change.</summary>
    BirthDateCorrected,
}

/// <summary>One thing that happened.</summary>
/// <param name="Day">The day, counted from 1: day 0 has no events.</param>
/// <param name="Kind">What happened.</param>
/// <param name="SourcedId">To whom.</param>
/// <param name="Group">The person's role group.</param>
/// <param name="Detail">Old and new value in words, or empty.</param>
public sealed record SandboxEvent(int Day, SandboxEventKind Kind, string SourcedId, SandboxRoleGroup Group, string Detail);

/// <summary>An id of a kind, as the district keeps it.</summary>
/// <param name="Type">Such as <c>Barcode</c>.</param>
/// <param name="Identifier">May be empty.</param>
public sealed record SandboxUserId(string Type, string Identifier);

/// <summary>A guardian as a library would print it.</summary>
/// <param name="SourcedId">The guardian's own id.</param>
/// <param name="Text">Given name, family name and phone with single blanks between, blank parts left out.</param>
/// <param name="Email">May be empty.</param>
public sealed record SandboxContact(string SourcedId, string Text, string Email);

/// <summary>A current homeroom.</summary>
/// <param name="SourcedId">The class's id.</param>
/// <param name="School">sourcedId of its school.</param>
/// <param name="Code">May be empty.</param>
/// <param name="Location">May be empty.</param>
/// <param name="Title">Title of the class.</param>
/// <param name="Teacher">The primary teacher as "Last, First", or empty.</param>
public sealed record SandboxHomeroom(string SourcedId, string School, string Code, string Location, string Title, string Teacher);

/// <summary>An org of the district.</summary>
/// <param name="SourcedId">Its id.</param>
/// <param name="Name">Its name.</param>
/// <param name="Type"><c>district</c>, <c>school</c> or <c>department</c>.</param>
/// <param name="Identifier">The district's own number for it; may be empty.</param>
public sealed record SandboxOrg(string SourcedId, string Name, string Type, string Identifier);

/// <summary>
/// A person as they truly are on a day. Texts that the district does not have are empty. For people who are gone it holds what was last true.
/// </summary>
public sealed record SandboxPerson
{
    /// <summary>The roster's id.</summary>
    public required string SourcedId { get; init; }

    /// <summary>The group a library sees.</summary>
    public required SandboxRoleGroup Group { get; init; }

    /// <summary>The role as the 1.1 form names it.</summary>
    public required string Role { get; init; }

    /// <summary>Served, served as deleted, or gone.</summary>
    public required SandboxPresence Presence { get; init; }

    /// <summary>First name.</summary>
    public required string GivenName { get; init; }

    /// <summary>Middle name.</summary>
    public required string MiddleName { get; init; }

    /// <summary>Last name.</summary>
    public required string FamilyName { get; init; }

    /// <summary>KG, 01 .. 12, or empty.</summary>
    public required string Grade { get; init; }

    /// <summary>Null where the district has none on file.</summary>
    public required DateOnly? BirthDate { get; init; }

    /// <summary><c>male</c>, <c>female</c>, in the 1.2 form also <c>other</c> and <c>unspecified</c>, or empty.</summary>
    public required string Sex { get; init; }

    /// <summary>Phone number.</summary>
    public required string Phone { get; init; }

    /// <summary>E-mail address; may be shared with relatives.</summary>
    public required string Email { get; init; }

    /// <summary>The login.</summary>
    public required string Username { get; init; }

    /// <summary>The local number as the <c>identifier</c> field has it.</summary>
    public required string Identifier { get; init; }

    /// <summary>False where the district switched the login off.</summary>
    public required bool Enabled { get; init; }

    /// <summary>sourcedIds of orgs in the order in which the 1.1 form lists them.</summary>
    public required IReadOnlyList<string> Orgs { get; init; }

    /// <summary>The org where the person mainly belongs: what 1.2 calls the primary org.</summary>
    public required string PrimaryOrg { get; init; }

    /// <summary>Ids by type, in order.</summary>
    public required IReadOnlyList<SandboxUserId> UserIds { get; init; }

    /// <summary>Current homerooms a student sits in, or a teacher is the primary teacher of, by sourcedId.</summary>
    public required IReadOnlyList<SandboxHomeroom> Homerooms { get; init; }

    /// <summary>A student's guardians who are not deleted, by sourcedId.</summary>
    public required IReadOnlyList<SandboxContact> Guardians { get; init; }

    /// <summary>The homeroom at the first org if there is one, else the one with the lowest sourcedId, else null.</summary>
    public SandboxHomeroom? Homeroom =>
        Homerooms.FirstOrDefault(room => Orgs.Count > 0 && string.Equals(room.School, Orgs[0], StringComparison.Ordinal))
        ?? (Homerooms.Count > 0 ? Homerooms[0] : null);
}
