using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class WorkedFor : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<long>(
                name: "taken_at",
                table: "operations",
                type: "bigint",
                nullable: true);

            migrationBuilder.AddColumn<long>(
                name: "worked_for",
                table: "operations",
                type: "bigint",
                nullable: true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropColumn(
                name: "taken_at",
                table: "operations");

            migrationBuilder.DropColumn(
                name: "worked_for",
                table: "operations");
        }
    }
}
