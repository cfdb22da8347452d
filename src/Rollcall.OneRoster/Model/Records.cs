namespace Rollcall.OneRoster.Model;

/// <summary>Where a record stands. <c>inactive</c> of OneRoster 1.0 and 1.1 is read as <see cref="ToBeDeleted"/> (1.2, §"status").</summary>
public enum RecordStatus
{
    /// <summary>The record is current.</summary>
    Active,

    /// <summary>The provider says that the record is gone or about to go.</summary>
    ToBeDeleted,
}

/// <summary>What every roster record carries. In all records of this namespace a <see langword="null"/> text means that the
/// provider did not send the field; an empty text means that it was sent and is blank.</summary>
public abstract record RosterRecord
{
    /// <summary>The provider's key, compared byte for byte; <see langword="null"/> when it is missing or blank.</summary>
    public string? SourcedId { get; init; }

    /// <summary>Active unless the provider says otherwise.</summary>
    public RecordStatus Status { get; init; }

    /// <summary>When the provider last changed the record; <see langword="null"/> when not sent or unreadable.</summary>
    public DateTimeOffset? LastModified { get; init; }
}

/// <summary>A school, district or other organization (OneRoster 1.1 §4.10, 1.2 "Org").</summary>
public sealed record Org : RosterRecord
{
    /// <summary>The name people know it by.</summary>
    public string? Name { get; init; }

    /// <summary><c>school</c>, <c>district</c>, <c>department</c>, <c>local</c>, <c>state</c>, <c>national</c> or an extension.</summary>
    public string? Type { get; init; }

    /// <summary>The school's own number; often blank.</summary>
    public string? Identifier { get; init; }

    /// <summary><c>sourcedId</c> of the parent organization.</summary>
    public string? Parent { get; init; }
}

/// <summary>A period of the school calendar (OneRoster 1.1 §4.1).</summary>
public sealed record AcademicSession : RosterRecord
{
    /// <summary>The name people know it by.</summary>
    public string? Title { get; init; }

    /// <summary><c>term</c>, <c>gradingPeriod</c>, <c>semester</c>, <c>schoolYear</c> or an extension.</summary>
    public string? Type { get; init; }

    /// <summary>First day, inclusive; <see langword="null"/> when not sent or unreadable.</summary>
    public DateOnly? Start { get; init; }

    /// <summary>End, exclusive; <see langword="null"/> when not sent or unreadable.</summary>
    public DateOnly? End { get; init; }
}

/// <summary>A class or homeroom (OneRoster 1.1 §4.3).</summary>
public sealed record Class : RosterRecord
{
    /// <summary>Title; blank in some systems.</summary>
    public string? Title { get; init; }

    /// <summary>Code; blank in many systems.</summary>
    public string? ClassCode { get; init; }

    /// <summary><c>homeroom</c>, <c>scheduled</c> or an extension.</summary>
    public string? ClassType { get; init; }

    /// <summary>Room.</summary>
    public string? Location { get; init; }

    /// <summary><c>sourcedId</c> of the school.</summary>
    public string? School { get; init; }

    /// <summary><c>sourcedId</c>s of the sessions it runs in.</summary>
    public IReadOnlyList<string>? Terms { get; init; }
}

/// <summary>A person's part in a class (OneRoster 1.1 §4.6).</summary>
public sealed record Enrollment : RosterRecord
{
    /// <summary><c>sourcedId</c> of the person.</summary>
    public string? User { get; init; }

    /// <summary><c>sourcedId</c> of the class.</summary>
    public string? Class { get; init; }

    /// <summary><c>student</c>, <c>teacher</c>, <c>proctor</c>, <c>administrator</c>, <c>aide</c> or an extension.</summary>
    public string? Role { get; init; }

    /// <summary>The class's primary teacher.</summary>
    public bool Primary { get; init; }

    /// <summary>First day, inclusive.</summary>
    public DateOnly? Begin { get; init; }

    /// <summary>End, exclusive.</summary>
    public DateOnly? End { get; init; }
}

/// <summary>The part of a person's demographics that a library has a use for; everything else is dropped in the reader. Its
/// <c>sourcedId</c> is the person's.</summary>
public sealed record Demographics : RosterRecord
{
    /// <summary>Birthdate as read; <see langword="null"/> when not sent or unreadable, see <see cref="BirthDateBlank"/>.</summary>
    public DateOnly? BirthDate { get; init; }

    /// <summary>The birthdate was sent and is blank.</summary>
    public bool BirthDateBlank { get; init; }

    /// <summary><c>male</c>, <c>female</c>, <c>other</c>, <c>unspecified</c> in lower case, blank, or <see langword="null"/> when not sent or unreadable.</summary>
    public string? Sex { get; init; }
}

/// <summary>One of a person's ids in other systems.</summary>
/// <param name="Type">The kind of id, as the provider spells it.</param>
/// <param name="Identifier">The id; blank when sent blank.</param>
public readonly record struct UserId(string Type, string Identifier);

/// <summary>One role of a person at one organization. OneRoster 1.1's <c>role</c> and <c>orgs</c> become one entry an org, in
/// the order sent, the first primary; a 1.1 user without orgs gets one entry with a <see langword="null"/> org.</summary>
/// <param name="Role">The role's name, trimmed, as the provider spells it.</param>
/// <param name="Org"><c>sourcedId</c> of the organization.</param>
/// <param name="Primary">1.2 <c>roleType</c> <c>primary</c>; 1.1 the first org.</param>
/// <param name="Begin">First day, inclusive; <see langword="null"/> when open.</param>
/// <param name="End">End, exclusive; <see langword="null"/> when open.</param>
public readonly record struct UserRole(string Role, string? Org, bool Primary, DateOnly? Begin, DateOnly? End);

/// <summary>A person of the roster in one form for OneRoster 1.1, 1.2 and CSV. Passwords, credentials and user profiles never get this far.</summary>
public sealed record User : RosterRecord
{
    /// <summary>False only when the provider says that the login is disabled.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>First name.</summary>
    public string? GivenName { get; init; }

    /// <summary>Last name.</summary>
    public string? FamilyName { get; init; }

    /// <summary>Middle name.</summary>
    public string? MiddleName { get; init; }

    /// <summary>The first name the person goes by (1.2).</summary>
    public string? PreferredFirstName { get; init; }

    /// <summary>Login name.</summary>
    public string? Username { get; init; }

    /// <summary>The district's own number for the person; often blank.</summary>
    public string? Identifier { get; init; }

    /// <summary>E-mail address; not unique.</summary>
    public string? Email { get; init; }

    /// <summary>Phone number.</summary>
    public string? Phone { get; init; }

    /// <summary>Ids in other systems; <see langword="null"/> when not sent.</summary>
    public IReadOnlyList<UserId>? UserIds { get; init; }

    /// <summary>Grades as sent, in the order sent; <see langword="null"/> when not sent.</summary>
    public IReadOnlyList<string>? Grades { get; init; }

    /// <summary>Roles; empty when none was sent or none could be read.</summary>
    public IReadOnlyList<UserRole> Roles { get; init; } = [];

    /// <summary>True when the roles came in the 1.2 form (<c>roles[]</c>), false for 1.1 (<c>role</c>, <c>orgs</c>).</summary>
    public bool HasRoleList { get; init; }

    /// <summary>Some of what says where the person is could not be read: the organizations of <see cref="Roles"/> are not all of theirs.</summary>
    public bool OrgsPartial { get; init; }

    /// <summary>1.2 <c>primaryOrg</c>.</summary>
    public string? PrimaryOrg { get; init; }

    /// <summary><c>metadata.primaryOrg</c>, nested or as a flat key.</summary>
    public string? MetadataPrimaryOrg { get; init; }

    /// <summary><c>sourcedId</c>s of guardians (on a student) or students (on a guardian), in the order sent; <see langword="null"/> when not sent,
    /// and when none of those sent could be read.</summary>
    public IReadOnlyList<string>? Agents { get; init; }
}
