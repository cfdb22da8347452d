namespace Rollcall.Patrons;

/// <summary>Field 1026. The numbers are part of the contract.</summary>
public enum PatronStatus
{
    Active = 1,
    CardLost = 2,
    Suspended = 3,
    Transferred = 4,
    Inactive = 5,
    Other = 6,
}

/// <summary>What a patron may do here. Ordered: everything from <see cref="StudentAide"/> on is "above Patron". Never changed by a sync.</summary>
public enum SecurityGroup
{
    PatronLimited = 0,
    Patron = 1,
    StudentAide = 2,
    Librarian = 3,
    LibraryAdministrator = 4,
    DistrictAdministrator = 5,
}

/// <summary>The groups of roles that a district ticks.</summary>
public enum RoleGroup
{
    None = 0,
    Student = 1,
    Teacher = 2,
    Admin = 3,
}

/// <summary>One borrower, student or staff. Texts are null when empty.</summary>
public sealed class Patron
{
    public int DistrictId { get; set; }

    /// <summary>Counts up within the district; never used again.</summary>
    public long Id { get; set; }

    public string Barcode { get; set; } = "";
    public string? CommunityId { get; set; }
    public string? GovernmentId { get; set; }
    public string? Location { get; set; }
    public string? SecondLocation { get; set; }
    public string LastName { get; set; } = "";
    public string? FirstName { get; set; }
    public string? MiddleName { get; set; }
    public string? Level { get; set; }
    public string? Phone { get; set; }
    public string? Email { get; set; }
    public PatronStatus Status { get; set; } = PatronStatus.Active;
    public string? Policy { get; set; }

    /// <summary><c>M</c>, <c>F</c>, <c>X</c>; null when unknown.</summary>
    public string? Sex { get; set; }

    public DateOnly? Birthdate { get; set; }
    public DateOnly? GraduationDate { get; set; }
    public string? AdditionalContact { get; set; }
    public string? OtherEmails { get; set; }

    /// <summary>The site's id; null when the patron belongs to none yet.</summary>
    public int? SiteId { get; set; }

    public string? Nickname { get; set; }

    /// <summary>Field 1200: the roster's <c>sourcedId</c>, compared byte for byte.</summary>
    public string? Guid { get; set; }

    public SecurityGroup Group { get; set; } = SecurityGroup.Patron;

    /// <summary>Codes of the sites a librarian works at, comma separated; null is none.</summary>
    public string? SiteAccess { get; set; }

    public string? Notes { get; set; }
    public DateOnly? Expiration { get; set; }
    public string? Stamps { get; set; }

    /// <summary>A sync never transfers this patron.</summary>
    public bool DoNotTransfer { get; set; }

    /// <summary>Numbers of the fields that the library keeps whatever the roster says, comma separated; null is none.</summary>
    public string? KeptFields { get; set; }

    /// <summary>Lower-case barcode: unique in the district.</summary>
    public string BarcodeKey { get; set; } = "";

    /// <summary>Folded e-mail; null when blank.</summary>
    public string? EmailKey { get; set; }

    /// <summary>Folded "last first middle": sorting and cursors use it.</summary>
    public string NameKey { get; set; } = "";

    /// <summary>Folded text that the search looks into.</summary>
    public string SearchKey { get; set; } = "";

    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset UpdatedAt { get; set; }

    /// <summary>Raised by every write; a save from a page carries the one it saw.</summary>
    public long Version { get; set; }

    public string DisplayName => string.IsNullOrEmpty(FirstName) ? LastName : $"{LastName}, {FirstName}";

    /// <summary>Computes the key columns from the fields. Every write path calls it last.</summary>
    public void SetKeys()
    {
        BarcodeKey = Text.BarcodeKey(Barcode);
        EmailKey = Text.EmailKey(Email);
        NameKey = Text.Fold($"{LastName}\u0001{FirstName}\u0001{MiddleName}");
        SearchKey = Text.Fold(
            $"{LastName} {FirstName} {MiddleName} {Nickname} {LastName}, {FirstName} | {Barcode} | {CommunityId} | {Email}"
        );
    }
}

/// <summary>Patron ↔ roster person. The GUID itself is the patron's field 1200. Erased with the person.</summary>
public sealed class PatronLink
{
    public int DistrictId { get; set; }
    public long PatronId { get; set; }

    /// <summary>Further <c>sourcedId</c>s of the same person, one a line; null when none.</summary>
    public string? Aliases { get; set; }

    public RoleGroup RoleGroup { get; set; }
    public string? Username { get; set; }

    /// <summary><c>sourcedId</c>s of the guardians, one a line, sorted; null when none.</summary>
    public string? Guardians { get; set; }

    public string? HomeroomClass { get; set; }

    /// <summary>The roster says that this person's login is disabled: sign-in is refused, the patron stays.</summary>
    public bool LoginDisabled { get; set; }

    /// <summary>A verified full pull did not have this person any more, and that has been acted on.</summary>
    public bool Absent { get; set; }

    /// <summary>The status before a sync transferred the patron; null when no sync did, or a hand edit came after.</summary>
    public PatronStatus? StatusBefore { get; set; }

    /// <summary>Transferred because none of the person's schools was one of the library's: only one that is brings them back.</summary>
    public bool LeftSchools { get; set; }

    /// <summary>Hash of what the roster said, and under which mapping, when the patron last agreed with it. 0: compare again.</summary>
    public long SyncHash { get; set; }
}
